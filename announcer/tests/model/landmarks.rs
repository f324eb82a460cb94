//! What an exploration has come across: one that never saw a fence refused has
//! proved nothing about fences.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use announcer::ownership::lease::{Answer, Claim, Reply, Request};

use crate::{scope::Scope, store::Store};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landmark {
    /// A silent node's session was raised by another node.
    Fenced,
    /// The holder had renewed meanwhile.
    FenceRefused,
    /// A node took the VIP that another one had held in a session that is over.
    TakenOver,
    /// A node took the VIP that another one offered, or had released.
    HandedOver,
    /// A restarted daemon went on in the session of the maps it adopted.
    Adopted,
    /// The VIP's first lease was written.
    Taken,
    /// A deleted or edited lease was written anew.
    Restored,
    /// A node became valid again in its old session, after its validity was over.
    WentOn,
    /// A node learnt that it was fenced.
    LostSession,
    /// A write was applied after its client had given up.
    AppliedLate,
    /// A compare-and-swap failed.
    Conflict,
    /// A node stopped answering since it heard a rival announce.
    Yielded,
    /// A path came to its end, and was checked for a holder.
    Ended,
}

const LANDMARKS: [Landmark; Landmark::Ended as usize + 1] = {
    use Landmark::*;
    [
        Fenced,
        FenceRefused,
        TakenOver,
        HandedOver,
        Adopted,
        Taken,
        Restored,
        WentOn,
        LostSession,
        AppliedLate,
        Conflict,
        Yielded,
        Ended,
    ]
};

/// How often each was come across, by whatever path.
#[derive(Default)]
pub(crate) struct Landmarks([AtomicU64; LANDMARKS.len()]);

impl fmt::Debug for Landmarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let come_across = LANDMARKS.iter().map(|landmark| (landmark, self.count(*landmark)));
        f.debug_map().entries(come_across.filter(|(_, count)| *count > 0)).finish()
    }
}

impl Landmarks {
    pub(crate) fn mark(&self, landmark: Landmark) {
        self.0[landmark as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, landmark: Landmark) -> u64 {
        self.0[landmark as usize].load(Ordering::Relaxed)
    }
}

/// What the outcome of a write tells of the path.
pub(crate) fn of_write(
    scope: &Scope,
    by: Option<usize>,
    request: &Request,
    answer: &Answer,
    before: Option<&Claim>,
    store: &Store,
) -> Option<Landmark> {
    let applied = matches!(answer, Answer::Node(Reply::Ok(_)) | Answer::Vip(Reply::Ok(_)));
    match request {
        Request::WriteNode { node, open: false, expect: Some(_), .. }
            if by != Some(scope.index(node)) =>
        {
            Some(if applied { Landmark::Fenced } else { Landmark::FenceRefused })
        }
        Request::WriteVip { claim: Claim::Held { node, .. }, .. } if applied => match before {
            Some(Claim::Held { node: old, .. }) if old != node => Some(Landmark::TakenOver),
            Some(Claim::Released { .. }) => Some(Landmark::HandedOver),
            Some(Claim::Unclear) => Some(Landmark::Restored),
            None if store.vip_births() > 1 => Some(Landmark::Restored),
            None => Some(Landmark::Taken),
            Some(Claim::Held { .. }) => None,
        },
        Request::WriteNode { .. } | Request::WriteVip { .. } if !applied => {
            Some(Landmark::Conflict)
        }
        _ => None,
    }
}
