//! Parts of a state that its successors share until they change them: most
//! actions concern one node, and most of those leave its machine alone.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// A value that is copied when it is changed, and hashed once for all who share it.
#[derive(Clone, Debug)]
pub(crate) struct Shared<T>(Arc<Hashed<T>>);

#[derive(Debug)]
struct Hashed<T> {
    value: T,
    hash: OnceLock<u64>,
}

impl<T: Clone> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        // The copy is made to be changed.
        Self { value: self.value.clone(), hash: OnceLock::new() }
    }
}

impl<T: Clone> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Hashed { value, hash: OnceLock::new() }))
    }

    pub(crate) fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let hashed = Arc::make_mut(&mut self.0);
        hashed.hash = OnceLock::new();
        change(&mut hashed.value)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.0.hash.get_or_init(|| {
            // The same in every run: a path is found again by its hashes.
            let mut hasher = DefaultHasher::new();
            self.0.value.hash(&mut hasher);
            hasher.finish()
        });
        state.write_u64(*hash);
    }
}
