//! Leases deleted and edited by hand, and a node that gets another name.

use std::time::Duration;

use announcer_tests::cluster::{Cluster, SOON};
use serde_json::{Value, json};

use crate::{
    QUICK, VIP, held_by_node_1, leases, quick,
    wire::{interrupted, steady},
};

/// The annotation that says in which session a VIP is held.
const SESSION: &str = "l2announcer.io/session";

/// Where a session was lost to a hand others may have to wait for a lease duration, and
/// then need some requests and the head start of each rank.
const SOON_AGAIN: Duration = QUICK.lease.saturating_mul(2);

#[test]
fn a_vip_lease_deleted_or_spoiled_by_hand_is_written_anew() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let before = cluster.vip_lease(VIP).unwrap();
    let mut last = before.version.clone();
    let no_session = json!({ "metadata": { "annotations": { SESSION: null } } });
    let edits = [
        None,
        Some(json!({ "spec": { "holderIdentity": null } })),
        Some(json!({ "spec": { "holderIdentity": "" } })),
        Some(no_session),
        Some(json!({ "metadata": { "annotations": { SESSION: "nonsense" } } })),
        Some(json!({ "spec": { "holderIdentity": "Not a name!" } })),
    ];
    for edit in edits {
        match &edit {
            None => cluster.delete_vip_lease(VIP).unwrap(),
            Some(edit) => cluster.edit_vip_lease(VIP, edit.clone()).unwrap(),
        }
        let restored = cluster
            .wait_for_vip_lease(VIP, SOON, |lease| {
                lease.held == before.held && lease.version != last
            })
            .unwrap();
        last = restored.version;
        // And once only.
        cluster.wait_renewals(1).unwrap();
        assert_eq!(cluster.vip_lease(VIP).unwrap().version, last, "after {edit:?}");
    }
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP).unwrap().version, last);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

/// What a holder itself writes when it gives up a VIP, others take for just that.
#[test]
fn a_vip_lease_emptied_by_hand_is_a_release() {
    after(|cluster| {
        let released = json!({
            "metadata": { "annotations": { SESSION: null } }, "spec": { "holderIdentity": null },
        });
        cluster.edit_vip_lease(VIP, released).unwrap();
    });
}

/// Another node is written in as the holder, which knows nothing of it.
#[test]
fn a_vip_lease_given_away_by_hand_is_taken_in_order() {
    after(|cluster| {
        let given = json!({ "spec": { "holderIdentity": "node-2" } });
        cluster.edit_vip_lease(VIP, given).unwrap();
    });
}

#[test]
fn a_holder_whose_node_lease_is_deleted_begins_anew() {
    let cluster = after(|cluster| cluster.delete_node_lease(1).unwrap());
    assert!(cluster.node_lease(1).unwrap().is_open());
}

#[test]
fn all_leases_deleted_at_once_are_made_anew() {
    let cluster = after(|cluster| {
        cluster.delete_vip_lease(VIP).unwrap();
        (1..=3).for_each(|n| cluster.delete_node_lease(n).unwrap());
    });
    for n in 1..=3 {
        assert!(cluster.node_lease(n).unwrap().is_open());
    }
}

/// Three nodes, one of them holding; something is done by hand; soon the VIP is answered
/// again by who holds it then, never by two.
fn after(edit: impl FnOnce(&Cluster)) -> Cluster {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    edit(&cluster);
    cluster.wait_held_in_session(VIP, SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    let holder = cluster.lab().node(cluster.holder(VIP).unwrap()).mac;
    probe.wait_answer_by(holder, SOON).unwrap();
    interrupted(&probe.stop().unwrap(), SOON_AGAIN, holder);
    cluster
}

#[test]
fn a_follower_whose_node_lease_is_deleted_disturbs_nobody() {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    let held = cluster.vip_lease(VIP);
    let session = cluster.node_lease(2).unwrap().session;
    cluster.delete_node_lease(2).unwrap();
    cluster.wait_for_node_lease(2, SOON, |l| l.is_open() && l.session != session).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.vip_lease(VIP), held);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}

#[test]
fn the_vips_of_a_node_that_was_renamed_move_on() {
    renamed(false);
}

#[test]
fn the_vips_of_a_node_that_was_renamed_move_on_though_its_lease_is_collected() {
    renamed(true);
}

/// A node that was killed comes back under another name, and its old Node object is
/// deleted; with it the garbage collector may have deleted its lease.
fn renamed(collected: bool) {
    let mut cluster = quick(3);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_lease_duration().unwrap();
    cluster.kill(1).unwrap();
    if collected {
        cluster.delete_node_lease(1).unwrap();
    }
    cluster.delete_node("node-1").unwrap();
    cluster.rename(1, "renamed").unwrap();
    cluster.start(1).unwrap();
    // Names that are no node's are nobody's number.
    let holder = cluster.wait_for_holder(VIP, SOON, |_| true).unwrap();
    let holder = cluster.lab().node(holder).mac;
    probe.wait_answer_by(holder, SOON).unwrap();
    cluster.wait_lease_duration().unwrap();
    // The lease duration, the head start of each rank, and as much again.
    interrupted(&probe.stop().unwrap(), SOON_AGAIN, holder);
}

#[test]
fn leases_of_a_stranger_are_nobodys_business() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_renewals(1).unwrap();
    let before = leases(&cluster);
    let labels =
        |kind: &str| json!({ "l2announcer.io/lease": kind, "l2announcer.io/session": "over" });
    let lease = |name: &str, kind: &str, spec: Value| json!({ "metadata": { "name": name, "labels": labels(kind) }, "spec": spec });
    for odd in [
        lease("announcer-vip-not-an-address", "vip", json!({ "holderIdentity": "node-2" })),
        lease("something-else", "vip", json!({})),
        lease("announcer-node-gone", "node", json!({ "holderIdentity": "Not a name!" })),
        lease("something-more", "node", json!({})),
    ] {
        cluster.create_lease(odd).unwrap();
    }
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
}
