//! etcd and the API server are stopped, go on, are killed and come back.

use announcer_tests::{
    cluster::{Cluster, Timing},
    daemon::Signal,
};

use crate::{
    Mode, QUICK,
    outage::{Away, outage},
};

/// Requests wait in the API server, and those that had come so far are carried out late.
fn etcd_stopped(cluster: &mut Cluster, away: &Away<'_>) {
    let control = cluster.control_plane();
    control.freeze_etcd().unwrap();
    away.pass();
    control.thaw_etcd().unwrap();
}

/// Connections stay, and nobody reads from them.
fn server_stopped(cluster: &mut Cluster, away: &Away<'_>) {
    let control = cluster.control_plane();
    control.signal_apiserver(Signal::Stop).unwrap();
    away.pass();
    control.signal_apiserver(Signal::Cont).unwrap();
}

/// Connections are reset, and refused.
fn server_killed(cluster: &mut Cluster, away: &Away<'_>) {
    let control = cluster.control_plane_mut();
    control.kill_apiserver().unwrap();
    away.pass();
    control.start_apiserver().unwrap();
}

// The longest first and side by side: tests begin in the order of their names.
#[test]
fn a_killed_server_is_held_through() {
    outage(Mode::Hold, Timing::DEFAULT, Timing::DEFAULT.lease * 10, server_killed);
}

#[test]
fn a_killed_server_moves_nothing_that_was_withdrawn() {
    outage(Mode::Withdraw, QUICK, QUICK.lease * 4, server_killed);
}

#[test]
fn hold_answers_through_a_stopped_etcd() {
    outage(Mode::Hold, QUICK, QUICK.lease * 4, etcd_stopped);
}

#[test]
fn hold_answers_through_a_stopped_server() {
    outage(Mode::Hold, QUICK, QUICK.lease * 4, server_stopped);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_stopped_etcd() {
    outage(Mode::Withdraw, QUICK, QUICK.lease * 4, etcd_stopped);
}

#[test]
fn withdraw_goes_dark_in_time_for_a_stopped_server() {
    outage(Mode::Withdraw, QUICK, QUICK.lease * 4, server_stopped);
}
