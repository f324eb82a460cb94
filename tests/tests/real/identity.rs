//! Tokens and certificates expire, and are replaced.

use std::time::{Duration, Instant};

use announcer_apiserver::Match;
use announcer_tests::{
    cluster::{Cluster, SOON, Timing},
    daemon::LogLine,
    probe::ProbeHandle,
};

use crate::{
    Mode, QUICK, VIP, cluster, held_by_node_1, leases, millis,
    wire::{gave_way, steady},
};

/// A token that has just been seen is accepted for this long, though it expire meanwhile.
const SEEN: Duration = Duration::from_secs(10);
/// From the replacement on, a request is sent with the new token: at the next try, at most a
/// renew interval later. (A client that reads the file now and then: up to 50 s.)
const RECOVERY: Duration = Duration::from_secs(5);

/// Of a certificate that does not expire here.
const LONG: Duration = Duration::from_secs(60 * 60);
/// What an announcer says when the first of its requests fails.
const FAILED: &str = "a request to the API server failed";

/// A request that takes a second on a machine that stalls does not end the validity of a
/// holder, which withdraws and so shows whatever interrupts its renewals for long.
const CALM: Timing = Timing { lease: Duration::from_secs(6), renew: Duration::from_secs(1) };

/// Has all requests until `until` sent: no sleep, and the wire is watched meanwhile.
fn ask_until(probe: &ProbeHandle, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    probe.wait_requests(usize::try_from(left.as_millis()).unwrap()).unwrap();
}

/// Requests of node `n` that were refused since `from` because nobody knew who asked.
fn unknown(cluster: &Cluster, n: usize, from: Instant) -> usize {
    let client = &cluster.lab().node(n).name;
    let entries = cluster.audit().recent(&Match::any().client(client));
    entries.iter().filter(|entry| entry.code == Some(401) && entry.at >= from).count()
}

/// Gives node `n`'s announcer a token that expires `valid` from now.
fn expiring(cluster: &Cluster, n: usize, valid: Duration) -> Instant {
    let node = cluster.lab().node(n);
    let control = cluster.control_plane();
    let token = control.announcer_token(&node.name).unwrap();
    let expires = Instant::now() + valid;
    let token = control.pki().shorten(&token, valid).unwrap();
    control.replace_token(&cluster.token(node), &token).unwrap();
    expires
}

fn renew(cluster: &Cluster, n: usize) -> Instant {
    let node = cluster.lab().node(n);
    let control = cluster.control_plane();
    let token = control.announcer_token(&node.name).unwrap();
    control.replace_token(&cluster.token(node), &token).unwrap();
    Instant::now()
}

/// How long after `from` node `n`'s first successful renewal was.
fn renewed_after(cluster: &Cluster, n: usize, from: Instant) -> Duration {
    loop {
        let entries = cluster.audit().recent(&cluster.renewals(n));
        let first = entries.iter().find(|entry| entry.wrote.is_some() && entry.at > from);
        if let Some(first) = first {
            return first.at - from;
        }
        assert!(from.elapsed() < SOON * 3, "no renewal succeeds");
        // Those that fail count here.
        cluster.wait_renewals_of(&[n], 1).unwrap();
    }
}

/// The longest time between two successful renewals of node `n`.
fn longest_pause(cluster: &Cluster, n: usize) -> Duration {
    let entries = cluster.audit().recent(&cluster.renewals(n));
    let renewed: Vec<_> = entries.iter().filter(|e| e.wrote.is_some()).map(|e| e.at).collect();
    renewed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn a_token_that_is_replaced_in_time_is_never_missed() {
    const VALID: Duration = Duration::from_secs(30);
    let mut cluster = Mode::Withdraw.cluster(3, CALM);
    let began = Instant::now();
    let expire: Vec<_> = (1..=3).map(|n| expiring(&cluster, n, VALID)).collect();
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    for n in 1..=3 {
        renew(&cluster, n);
    }
    ask_until(&probe, expire[2] + SEEN + CALM.lease * 2);
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert_eq!(leases(&cluster), before, "nothing moved");
    for n in 1..=3 {
        assert_eq!(unknown(&cluster, n, began), 0, "node {n}");
        let pause = longest_pause(&cluster, n);
        println!("node {n}: at most {:.0} ms between renewals", millis(pause));
        assert!(pause < CALM.validity(), "{pause:?}");
    }
}

#[test]
fn a_token_that_is_replaced_late_is_held_through() {
    const VALID: Duration = Duration::from_secs(15);
    let mut cluster = Mode::Hold.cluster(1, QUICK);
    let expires = expiring(&cluster, 1, VALID);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    // A request may fail before for another reason.
    let failed = |line: &LogLine| line.at >= expires && line.text.contains(FAILED);
    cluster.daemon(1).unwrap().wait_for_line(VALID + SEEN + SOON, failed).unwrap();
    ask_until(&probe, Instant::now() + QUICK.lease * 3);
    assert!(unknown(&cluster, 1, expires) > 2, "it goes on asking");

    let replaced = renew(&cluster, 1);
    let after = renewed_after(&cluster, 1, replaced);
    println!("renewed {:.0} ms after the token was replaced", millis(after));
    assert!(after < RECOVERY, "{after:?}");
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert_eq!(leases(&cluster), before, "the same session");
}

#[test]
fn a_holder_whose_token_expires_is_succeeded_by_one_whose_has_not() {
    const VALID: Duration = Duration::from_secs(5);
    let mut cluster = Mode::Hold.cluster(3, QUICK);
    let probe = held_by_node_1(&mut cluster);
    let session = cluster.node_lease(1).unwrap().session;
    expiring(&cluster, 1, VALID);
    let holder = cluster.wait_for_holder(VIP, VALID + SEEN + SOON, |n| n != 1).unwrap();
    let [from, to] = [1, holder].map(|n| cluster.lab().node(n).mac);
    probe.wait_answer_by(to, SOON).unwrap();
    renew(&cluster, 1);
    cluster.wait_for_node_lease(1, SOON, |l| l.is_open() && l.session != session).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(cluster.holder(VIP), Some(holder));
    gave_way(&probe.stop().unwrap(), Mode::Hold, from, to);
}

#[test]
fn a_certificate_that_is_renewed_in_time_interrupts_nothing() {
    const VALID: Duration = Duration::from_secs(15);
    let mut cluster = Mode::Withdraw.cluster(3, CALM);
    let probe = held_by_node_1(&mut cluster);
    let before = (cluster.vip_lease(VIP), cluster.node_lease(1));
    let expires = Instant::now() + VALID;
    cluster.control_plane_mut().renew_certificate(VALID).unwrap();
    // Who starts sees it; others go on with the connections that they have.
    cluster.kill(2).unwrap();
    cluster.start(2).unwrap();
    cluster.control_plane_mut().renew_certificate(LONG).unwrap();
    ask_until(&probe, expires + CALM.lease);
    cluster.kill(3).unwrap();
    cluster.start(3).unwrap();
    cluster.wait_lease_duration().unwrap();
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert_eq!((cluster.vip_lease(VIP), cluster.node_lease(1)), before, "nothing moved");
}

/// Connections outlive certificates, and TLS sessions that are resumed do: so nobody notices
/// an expired one until the API server starts again.
#[test]
fn a_certificate_that_is_renewed_late_is_held_through() {
    const EXPIRED: Duration = Duration::ZERO;
    let args = ["--on-api-loss", "hold", "--log", "announcer=debug"];
    let mut cluster = cluster(1, QUICK, args);
    let probe = held_by_node_1(&mut cluster);
    let before = leases(&cluster);
    let control = cluster.control_plane_mut();
    control.kill_apiserver().unwrap();
    control.pki().renew_serving_certificate(EXPIRED).unwrap();
    control.launch_apiserver().unwrap();
    cluster.daemon(1).unwrap().wait_for_log("certificate expired", SOON).unwrap();
    ask_until(&probe, Instant::now() + QUICK.lease * 3);

    cluster.control_plane().renew_certificate(LONG).unwrap();
    let after = renewed_after(&cluster, 1, Instant::now());
    println!("renewed {:.0} ms after the certificate was", millis(after));
    steady(&probe.stop().unwrap(), cluster.lab().node(1).mac);
    assert_eq!(leases(&cluster), before, "the same session");
}
