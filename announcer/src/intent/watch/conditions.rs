//! What Services say in their condition, for those who write it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch::Sender;

use crate::{
    condition::Seen,
    intent::index::{Kind, Object, ObjectKey},
    types::Vip,
};

/// `None`: nobody wants to know.
pub(super) struct Conditions(pub(super) Option<Sender<Seen>>);

impl Conditions {
    pub(super) fn apply(&self, object: &Object) {
        if let Object::Service(service) = object {
            self.change(|seen| seen.apply(object.key(), service));
        }
    }

    pub(super) fn delete(&self, kind: Kind, key: &ObjectKey) {
        if kind == Kind::Service {
            self.change(|seen| seen.delete(key));
        }
    }

    pub(super) fn retain(&self, kind: Kind, listed: &BTreeSet<ObjectKey>) {
        if kind == Kind::Service {
            self.change(|seen| seen.retain(listed));
        }
    }

    pub(super) fn set_orphans(&self, orphans: &BTreeMap<Vip, String>) {
        self.change(|seen| seen.set_orphans(orphans));
    }

    fn change(&self, change: impl FnOnce(&mut Seen) -> bool) {
        if let Some(seen) = &self.0 {
            seen.send_if_modified(change);
        }
    }
}
