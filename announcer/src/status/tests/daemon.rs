//! What the daemon says of itself.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    conflict::{LastClaim, Stranger},
    datapath::namespace::Holder,
    intent::desired::{Candidacy, ServiceRef},
    ownership::{
        machine::Wait,
        report::{Membership, VipReport, VipState},
    },
    types::NodeName,
};

fn node(name: &str) -> NodeName {
    name.parse().expect("a node name")
}

fn ago(seconds: u64) -> BootTime {
    NOW - Duration::from_secs(seconds)
}

fn origin() -> Origin {
    Origin { version: "1.2.3", pid: 4711, started: ago(50), now: NOW }
}

fn member() -> Membership {
    Membership {
        node: node("node-1"),
        session: Some((Session::new("8d6f8d43-8ea5-4f0a-b1a7-2f3bfc3a7d16", 3), ago(40))),
        lease_duration: Duration::from_secs(3),
        valid_until: NOW + Duration::from_millis(2300),
        on_trust: false,
        candidacy: Some(Candidacy::Candidate),
        draining: false,
        synced: true,
        api_failing: None,
    }
}

fn service(namespace: &str, name: &str) -> ServiceRef {
    ServiceRef { namespace: namespace.into(), name: name.into(), uid: "uid".into() }
}

fn seen(state: VipState, holder: Option<&str>) -> VipReport {
    VipReport {
        state,
        holder: holder.map(node),
        since: Some(ago(35)),
        services: Arc::new([service("default", "web")]),
        conflict: None,
    }
}

fn report(vips: impl IntoIterator<Item = (Vip, VipReport)>) -> Report {
    Report { at: NOW, cluster: Some(member()), vips: vips.into_iter().collect(), conflicts: 0 }
}

fn status(report: Option<&Report>) -> Status {
    let found = [ens18()];
    let rates = BTreeMap::from([(vip(10), 12.34)]);
    Status::new(&found, NOW).with_daemon(&found, &origin(), report, &rates)
}

fn all_states() -> Vec<(Vip, VipReport)> {
    let soon = NOW + Duration::from_millis(1500);
    let mut conflict = seen(VipState::Yielded { until: Some(soon) }, Some("node-1"));
    let mac = MacAddr::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let stranger = Stranger { mac, interface: "ens18".into(), probes: false };
    conflict.conflict = Some(LastClaim { stranger, at: ago(4), lasts: true });
    conflict.services = Arc::new([
        service("a-namespace-with-a-long-name", "a-service-with-a-long-name"),
        service("default", "web"),
    ]);
    let turn = Wait::Turn { at: soon };
    let offered = VipState::Offered { to: Some(node("node-2")), until: Some(soon) };
    let far = "node-with-a-long-name.rack-17.datacenter.example.com";
    vec![
        (vip(10), seen(VipState::Held, Some("node-1"))),
        (vip(11), seen(VipState::Silent, Some(far))),
        (vip(12), seen(offered, Some("node-1"))),
        (vip(13), seen(VipState::Waiting(turn), None)),
        (vip(14), seen(VipState::Probing { until: soon }, Some("node-1"))),
        (vip(15), conflict),
        (vip(16), seen(VipState::Expired, Some("node-1"))),
    ]
}

#[test]
fn the_table_fits_into_80_columns_and_names_what_is_waited_for() {
    let status = status(Some(&report(all_states())));
    let table = status.to_string();
    let vips = table.split("ens18  ifindex").next().expect("what comes before");
    for line in vips.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    for said in [
        "node-1  announcer 1.2.3, process 4711, up 50s",
        "session 8d6f8d43-8ea5-4f0a-b1a7-2f3bfc3a7d16/3, open for 40s",
        "valid for another 2.3 s",
        "API server: answers",
        "may hold VIPs",
        "192.0.2.10      held     node-1",
        "12.3 default/web",
        "answered until node-2 has it, in 1.5 s",
        "for its turn: others go first, in 1.5 s",
        "nobody held it before",
        "52:54:00:12:34:56 (52:54:00, QEMU/KVM) on ens18 4.0s ago",
        "until a renewal succeeds",
    ] {
        assert!(table.contains(said), "{said:?} is not in\n{table}");
    }
    let wide = format!("{status:#}");
    for said in ["node-with-a-long-name.rack-17.datacenter.example.com", ",default/web", "STATE"] {
        assert!(wide.contains(said), "{said:?} is not in\n{wide}");
    }
}

#[test]
fn the_json_names_every_state_and_comes_back_whole() {
    let status = status(Some(&report(all_states())));
    let text = serde_json::to_string(&status).expect("it can be written");
    let back: Status = serde_json::from_str(&text).expect("the command reads what the daemon says");
    assert_eq!(back, status);
    assert_eq!(back.to_string(), status.to_string());
    let yaml = serde_saphyr::to_string(&status).expect("it can be written");
    let back: Status = serde_saphyr::from_str(&yaml).expect("it is YAML");
    assert_eq!(back, status);
    let json = serde_json::to_value(&status).expect("json");
    let states = json["vips"].as_array().expect("a list").iter().map(|vip| vip["state"].clone());
    let states: Vec<_> = states.collect();
    let all = ["held", "silent", "offered", "waiting", "probing", "yielded", "expired"];
    assert_eq!(json!(states), json!(all));
    let held = &json["vips"][0];
    assert_eq!(held["answered"], 12, "as the maps say");
    assert_eq!((&held["held_seconds"], &held["services"]), (&json!(35.0), &json!(["default/web"])));
    assert_eq!(json["vips"][5]["conflict"]["vendor"], "52:54:00, QEMU/KVM");
}

#[test]
fn trouble_with_the_api_server_is_told() {
    let failing = Some((ago(7), "connection refused".to_owned()));
    let said = |member: Membership| {
        let report = Report { cluster: Some(member), ..report([]) };
        status(Some(&report)).to_string()
    };
    let over = ago(1);
    for (member, expected) in [
        (
            Membership { api_failing: failing.clone(), ..member() },
            "API server: failing for 7.0s: connection refused",
        ),
        (
            Membership { valid_until: over, on_trust: true, ..member() },
            "answering on trust: no renewal entitles it to",
        ),
        (Membership { valid_until: over, ..member() }, "not valid: its last renewal is too old"),
        (Membership { session: None, ..member() }, "no session"),
        (
            Membership { candidacy: Some(Candidacy::Unlinked), ..member() },
            "none of its interfaces works",
        ),
        (Membership { draining: true, ..member() }, "handing everything over"),
    ] {
        let table = said(member);
        assert!(table.contains(expected), "{expected:?} is not in\n{table}");
    }
}

#[test]
fn a_daemon_whose_ownership_hangs_shows_what_is_pinned() {
    let status = status(None);
    let table = status.to_string();
    assert!(table.contains("does not answer"), "{table}");
    assert!(table.contains("answering until +1.9 s"), "{table}");
    let json = serde_json::to_value(&status).expect("json");
    assert_eq!(json["daemon"]["responsive"], false);
    assert_eq!(json.get("vips"), None);
}

#[test]
fn a_daemon_that_hangs_is_told_from_none_and_from_one_that_cannot_be_asked() {
    let holder = Holder { pid: Some(4711), command: Some("announcer run".to_owned()) };
    let error = "for root only".to_owned();
    for (daemon, expected) in [
        (Daemon::Absent, json!({ "state": "absent" })),
        (Daemon::Hung(holder), json!({ "state": "hung", "pid": 4711, "command": "announcer run" })),
        (Daemon::Unknown { error }, json!({ "state": "unknown", "error": "for root only" })),
    ] {
        let status = Status::new(&[ens18()], NOW).with_unasked(daemon);
        let json = serde_json::to_value(&status).expect("json");
        assert_eq!(json["daemon"], expected);
        assert!(status.to_string().contains("answering until +1.9 s"), "{status}");
        let hangs = status.to_string().contains("process 4711 (`announcer run`)");
        assert_eq!(hangs, expected["state"] == "hung");
    }
    let running = serde_json::to_value(status(Some(&report([])))).expect("json");
    assert_eq!(running["daemon"]["state"], "running");
}

#[test]
fn nothing_to_announce_is_told_from_nothing_read() {
    let empty = |synced| {
        let mut report = report([]);
        report.cluster.as_mut().expect("a cluster").synced = synced;
        status(Some(&report)).to_string()
    };
    assert!(empty(true).contains("no VIPs are to be announced"));
    let unread = empty(false);
    assert!(unread.contains("is not known yet") && !unread.contains("no VIPs"), "{unread}");
}

#[test]
fn what_cannot_be_read_is_not_called_nothing() {
    let why = "reading pins failed: Permission denied";
    let status = Status::new(&[], NOW).with_unreadable(why.to_owned());
    let table = status.to_string();
    assert!(table.contains(why) && !table.contains("nothing is attached"), "{table}");
    assert_eq!(serde_json::to_value(&status).expect("json")["interfaces_error"], why);
}
