//! What announcers say of themselves: status, metrics, health.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use announcer_apiserver::{EVENTS_V1, Match, SERVICES, Verb};
use announcer_tests::{
    arp::{ArpFrame, Mac, Op},
    capture::Injector,
    cluster::{Cluster, HTTP_PORT, LeaseState, SERVICES_IN, SOON, Samples, Timing},
    daemon::{self, Daemon},
    lab::{CLIENT_NIC, Link},
    topology::Cut,
};
use serde_json::{Value, json};

use crate::{OTHER, QUICK, STAY, VIP, cluster, held_by_node_1, quick};

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const STRANGER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn vip(status: &Value, vip: Ipv4Addr) -> &Value {
    let vips = status["vips"].as_array().unwrap();
    vips.iter().find(|seen| seen["vip"] == vip.to_string()).unwrap()
}

fn claim(cluster: &Cluster) {
    let stranger = Injector::open(cluster.lab().client(), CLIENT_NIC).unwrap();
    let claim = ArpFrame::announcement(STRANGER, VIP, Op::Reply);
    stranger.send(&claim.to_padded_bytes()).unwrap();
}

#[test]
fn status_tells_of_each_vip_what_it_is_and_whose() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let told = |n: usize, state: &str| {
        let told = |status: &Value| {
            let seen = vip(status, VIP);
            seen["state"] == state && seen["holder"] == "node-1"
        };
        cluster.wait_for_status(n, told).unwrap()
    };
    let mine = told(1, "held");
    told(2, "silent");
    let node = &mine["daemon"]["cluster"];
    let (session, lease) = (node["session"].as_str().unwrap(), cluster.node_lease(1).unwrap());
    assert_eq!(session, lease.session);
    for (field, expected) in [
        ("node", json!("node-1")),
        ("candidacy", json!("candidate")),
        ("synced", json!(true)),
        ("on_trust", json!(false)),
        ("draining", json!(false)),
        ("api_error", Value::Null),
    ] {
        assert_eq!(node[field], expected, "{field} of {mine:#}");
    }
    let left = node["validity_seconds"].as_f64().unwrap();
    assert!(left > 0.0 && left <= cluster.timing().validity().as_secs_f64(), "{left}");
    let seen = vip(&mine, VIP);
    assert_eq!(seen["services"], json!(["default/web"]));
    assert_eq!((&seen["conflict"], &seen["detail"]), (&Value::Null, &Value::Null));

    // Somebody looks twice, and something is answered between.
    probe.wait_requests(1500).unwrap();
    let rate = |status: &Value| vip(status, VIP)["answered_per_second"].as_f64();
    let busy = cluster.wait_for_status(1, |status| rate(status).is_some()).unwrap();
    assert!(rate(&busy).unwrap() > 0.0 && vip(&busy, VIP)["answered"].as_u64() > Some(0));

    claim(&cluster);
    let struck = |status: &Value| vip(status, VIP)["conflict"]["mac"] == STRANGER.to_string();
    let struck = cluster.wait_for_status(1, struck).unwrap();
    assert_eq!(vip(&struck, VIP)["conflict"]["vendor"], "52:54:00, QEMU/KVM");
    assert_eq!(vip(&struck, VIP)["conflict"]["active"], true);

    let table = cluster.status(1, &[]).unwrap();
    for part in
        ["node-1", "held", "default/web", "conflict: 52:54:00:12:34:56", "API server: answers"]
    {
        assert!(table.contains(part), "{part}:\n{table}");
    }
    assert!(cluster.status(1, &["-o", "wide"]).unwrap().contains("answering until"));
    assert!(cluster.status(1, &["-o", "yaml"]).unwrap().contains("node: node-1"));
}

#[test]
fn status_says_what_a_vip_waits_for() {
    let mut cluster = quick(2);
    cluster.create_service("web", VIP).unwrap();
    for n in 1..=2 {
        cluster.set_node_label(n, EXCLUDE, Some("")).unwrap();
    }
    cluster.start_idle(1).unwrap();
    let nobody = |status: &Value| {
        let seen = vip(status, VIP);
        seen["state"] == "waiting"
            && seen["detail"].as_str().is_some_and(|detail| detail.contains("none is eligible"))
    };
    let status = cluster.wait_for_status(1, nobody).unwrap();
    assert_eq!(status["daemon"]["cluster"]["candidacy"], "unselected");
    assert_eq!(status["daemon"]["cluster"]["session"], Value::Null);
    assert_eq!(cluster.get(1, "/readyz").unwrap(), (200, "ok\n".to_owned()), "nothing is missing");
}

#[test]
fn status_tells_of_an_api_server_that_does_not_answer() {
    let args = STAY.into_iter().chain(["--on-api-loss", "hold"]);
    // Who was held up for longer than the margin, as on a busy machine, holds nothing on trust.
    let mut cluster = cluster(1, Timing::DEFAULT, args);
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    cluster.lab().cut(cluster.lab().node(1), Link::Management, Cut::Silent).unwrap();
    let trusting = |status: &Value| status["daemon"]["cluster"]["on_trust"] == true;
    let status = cluster.wait_for_status(1, trusting).unwrap();
    let node = &status["daemon"]["cluster"];
    assert!(node["api_error"].is_string() && node["api_failing_seconds"].is_number(), "{node:#}");
    assert_eq!(vip(&status, VIP)["state"], "held");
    let failures = &cluster.metrics(1).unwrap()["announcer_lease_renew_failures_total"]["{}"];
    assert!(*failures >= 1.0);
    assert_eq!(cluster.get(1, "/readyz").unwrap().0, 200, "it answers all the same");
}

#[test]
fn status_without_a_daemon_says_so_and_what_is_pinned() {
    let mut cluster = quick(1);
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    cluster.wait_for_status(1, |status| vip(status, VIP)["state"] == "held").unwrap();
    cluster.kill(1).unwrap();
    let status: Value = serde_json::from_str(&cluster.status(1, &["-o", "json"]).unwrap()).unwrap();
    assert_eq!(status["daemon"], json!({ "state": "absent" }));
    assert_eq!(status["interfaces"][0]["vips"][0]["vip"], VIP.to_string());
    let mut command = Command::new(daemon::binary().unwrap());
    command.arg("status");
    let mut command = Daemon::start(command, "status", &cluster.lab().node(1).ns).unwrap();
    assert!(command.wait_exit(SOON).unwrap().success());
    command.wait_for_log("no announcer runs in this network namespace", SOON).unwrap();
    command.wait_for_log("192.0.2.10", SOON).unwrap();
}

#[test]
fn status_that_watches_writes_one_line_each_time() {
    let mut cluster = quick(1);
    cluster.start(1).unwrap();
    let mut command = Command::new(daemon::binary().unwrap());
    command.args(["status", "-o", "json", "--watch", "100ms"]);
    let watching = Daemon::start(command, "status", &cluster.lab().node(1).ns).unwrap();
    let vips = |line: &str| {
        let status: Value = serde_json::from_str(line).unwrap();
        status["vips"].as_array().unwrap().len()
    };
    watching.wait_for_line(SOON, |line| vips(&line.text) == 0).unwrap();
    cluster.create_service("web", VIP).unwrap();
    watching.wait_for_line(SOON, |line| vips(&line.text) == 1).unwrap();
}

#[test]
fn only_root_and_its_own_user_may_ask_the_daemon() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut cluster = quick(1);
    cluster.start(1).unwrap();
    // It lies where everybody can execute it.
    let directory = tempfile::tempdir().unwrap();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), everybody).unwrap();
    let binary = directory.path().join("announcer");
    fs::copy(daemon::binary().unwrap(), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary).arg("status");
    let mut nobody = Daemon::start(command, "status", &cluster.lab().node(1).ns).unwrap();
    assert!(!nobody.wait_exit(SOON).unwrap().success(), "{}", nobody.print());
    assert!(!nobody.print().contains("node-1"), "{}", nobody.print());
    nobody.wait_for_log("speaks to root and its own user only", SOON).unwrap();
}

#[test]
fn a_port_in_use_is_waited_for_and_holds_nothing_up() {
    let mut cluster = quick(1);
    let node = cluster.lab().node(1);
    let taken = node.ns.run(|| Ok(TcpListener::bind(("0.0.0.0", HTTP_PORT))?)).unwrap();
    cluster.create_service("web", VIP).unwrap();
    cluster.start(1).unwrap();
    cluster.daemon(1).unwrap().wait_for_log("no metrics and no health", SOON).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    drop(taken);
    cluster.daemon(1).unwrap().wait_for_log("serving /metrics", SOON).unwrap();
    assert_eq!(cluster.get(1, "/healthz").unwrap(), (200, "ok\n".to_owned()));
}

/// What `announcer live` says on node 1: its exit code, and why it is not alive.
fn live(cluster: &Cluster, set: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(daemon::binary().unwrap());
    command.arg("live").envs(set.iter().copied());
    let mut live = Daemon::start(command, "live", &cluster.lab().node(1).ns).unwrap();
    let succeeded = live.wait_exit(SOON).unwrap().success();
    (succeeded, live.print())
}

#[test]
fn who_fills_the_port_or_has_it_does_not_make_the_daemon_look_dead() {
    let mut cluster = quick(1);
    let (alive, why) = live(&cluster, &[]);
    assert!(!alive && why.contains("no announcer runs in this network namespace"), "{why}");
    cluster.start(1).unwrap();
    let ip = cluster.lab().node(1).ip;
    // More than it serves at once, none of which asks for anything.
    let connect = || Ok(std::net::TcpStream::connect((ip, HTTP_PORT))?);
    let slow: Vec<_> = (0..40).map(|_| cluster.lab().node(1).ns.run(connect).unwrap()).collect();
    assert!(live(&cluster, &[]).0);
    assert!(live(&cluster, &[("ANNOUNCER_CONFIG", "/nowhere.yaml")]).0, "reads no file");
    drop(slow);
}

#[test]
fn who_has_not_read_everything_is_alive_and_not_ready() {
    let mut cluster = quick(1);
    cluster.lab().cut(cluster.lab().node(1), Link::Management, Cut::Silent).unwrap();
    let announcer = cluster.announcer(1).unwrap().start(&cluster.lab().node(1).ns).unwrap();
    announcer.wait_for_log("attached", SOON).unwrap();
    announcer.wait_for_log("serving /metrics", SOON).unwrap();
    assert_eq!(cluster.get(1, "/healthz").unwrap(), (200, "ok\n".to_owned()));
    let (code, why) = cluster.get(1, "/readyz").unwrap();
    assert_eq!(code, 503, "{why}");
    assert_eq!(cluster.get(1, "/elsewhere").unwrap().0, 404);
    drop(announcer);
    cluster.lab().restore(cluster.lab().node(1), Link::Management).unwrap();
    cluster.start(1).unwrap();
    assert_eq!(cluster.get(1, "/readyz").unwrap(), (200, "ok\n".to_owned()));
}

/// What Service `web` was told for this reason, once there is something.
fn events(cluster: &Cluster, reason: &str, wanted: usize) -> Vec<Value> {
    let written = Match::any().verb(Verb::Create).resource(EVENTS_V1);
    let told = || {
        let events = cluster.objects().list(&EVENTS_V1, SERVICES_IN).unwrap();
        let ours = |event: &Value| event["reason"] == reason;
        events.into_iter().filter(ours).collect::<Vec<_>>()
    };
    let mut all = cluster.audit().count(&written);
    while told().len() < wanted {
        all += 1;
        assert!(cluster.audit().wait_for(&written, all, SOON), "{:#?}", told());
    }
    told()
}

#[test]
fn a_takeover_is_an_event_on_the_service_with_where_and_why() {
    let mut cluster = quick(2);
    let probe = held_by_node_1(&mut cluster);
    let [first] = &events(&cluster, "Announced", 1)[..] else { panic!("one") };
    assert_eq!(first["note"], "192.0.2.10 is announced from node node-1 on ens18: nobody held it");
    let service = cluster.objects().get(&SERVICES, SERVICES_IN, "web").unwrap();
    assert_eq!(first["regarding"]["uid"], service["metadata"]["uid"], "kubectl describe shows it");
    cluster.kill(1).unwrap();
    probe.wait_answer_by(cluster.lab().node(2).mac, SOON).unwrap();
    let told = events(&cluster, "Announced", 2);
    let why = "192.0.2.10 is announced from node node-2 on ens18: node-1's session is over";
    assert!(told.iter().any(|event| event["note"] == why), "{told:#?}");
    // A daemon that comes back takes nothing, and has nothing to tell.
    cluster.kill(2).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(events(&cluster, "Announced", 2).len(), 2);
    let writes = Match::any().writes().resource(EVENTS_V1);
    let creations = writes.clone().verb(Verb::Create);
    assert_eq!(cluster.audit().count(&writes), cluster.audit().count(&creations), "only created");
}

#[test]
fn that_no_node_is_eligible_is_told_once_by_one_of_them() {
    let mut cluster = quick(2);
    cluster.create_service("web", VIP).unwrap();
    for n in 1..=2 {
        cluster.set_node_label(n, EXCLUDE, Some("")).unwrap();
    }
    cluster.start_idle(1).unwrap();
    cluster.start_idle(2).unwrap();
    let told = events(&cluster, "NoEligibleNode", 1);
    assert_eq!(told[0]["type"], "Warning");
    let note = told[0]["note"].as_str().unwrap();
    for part in ["192.0.2.10", "node-1: the node is excluded by label", "node-2:"] {
        assert!(note.contains(part), "{part}: {note}");
    }
    // The other one tries, too, and learns that it has been told.
    let creations = Match::any().verb(Verb::Create).resource(EVENTS_V1);
    assert!(cluster.audit().wait_for(&creations, 2, SOON));
    let known = |n| {
        let labels = r#"{verb="create",resource="events",result="conflict"}"#;
        let samples = cluster.metrics(n).unwrap();
        samples.get("announcer_api_requests_total").is_some_and(|s| s.contains_key(labels))
    };
    let deadline = std::time::Instant::now() + SOON;
    while !known(1) && !known(2) {
        assert!(std::time::Instant::now() < deadline, "nobody was told so");
    }
    assert_eq!(events(&cluster, "NoEligibleNode", 1), told);
}

/// Name and type of each row of `deploy/metrics.md`.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`').to_owned();
        Some((name, cells.next()?.trim().to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// The names under which samples of these metrics are written.
fn sample_names(metrics: &BTreeMap<String, String>) -> BTreeSet<String> {
    let names = |(name, kind): (&String, &String)| match kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
        "counter" | "gauge" => vec![name.clone()],
        other => panic!("{name}: {other} is no type"),
    };
    metrics.iter().flat_map(names).collect()
}

/// After whatever can happen to a VIP, every metric is there that is documented, and no
/// other; and what happened was counted.
#[test]
fn every_documented_metric_is_scraped_and_no_other() {
    let args = STAY.into_iter().chain(["--probe-interval", "50ms"]);
    let mut cluster = cluster(2, QUICK, args);
    let probe = held_by_node_1(&mut cluster);
    claim(&cluster);
    // A scrape may be as old as the status before it.
    let struck = |status: &Value| vip(status, VIP)["conflict"]["active"] == true;
    cluster.wait_for_status(1, struck).unwrap();
    let value = |samples: &Samples, name: &str, labels: &str| {
        let series = samples.get(name).unwrap_or_else(|| panic!("{name} in {samples:#?}"));
        *series.get(labels).unwrap_or_else(|| panic!("{labels} in {series:#?}"))
    };
    let one = cluster.metrics(1).unwrap();
    let (ens18, version) = (r#"{interface="ens18"}"#, env!("CARGO_PKG_VERSION"));
    for (name, labels, expected) in [
        ("announcer_build_info", &*format!(r#"{{version="{version}"}}"#), 1.0),
        ("announcer_hook_info", r#"{interface="ens18",hook="tcx"}"#, 1.0),
        ("announcer_vips", r#"{state="held"}"#, 1.0),
        ("announcer_vips", r#"{state="silent"}"#, 0.0),
        ("announcer_takeovers_total", r#"{reason="unheld"}"#, 1.0),
        ("announcer_takeover_duration_seconds_count", r#"{reason="unheld"}"#, 1.0),
        ("announcer_offers_untaken_total", "{}", 0.0),
        ("announcer_claims_dropped_total", r#"{interface=""}"#, 0.0),
        ("announcer_claims_dropped_total", ens18, 0.0),
        ("announcer_conflicts_total", "{}", 1.0),
        ("announcer_conflicts_active", "{}", 1.0),
        ("announcer_session_open", "{}", 1.0),
        ("announcer_lease_duration_seconds", "{}", cluster.timing().lease.as_secs_f64()),
        ("announcer_sessions_total", "{}", 1.0),
        ("announcer_interface_up", ens18, 1.0),
        ("announcer_map_write_failures_total", ens18, 0.0),
    ] {
        assert_eq!(value(&one, name, labels), expected, "{name}{labels}");
    }
    let answered = r#"{interface="ens18",protocol="arp"}"#;
    assert!(value(&one, "announcer_requests_answered_total", answered) > 0.0);
    assert!(value(&one, "announcer_vip_answered_total", r#"{vip="192.0.2.10"}"#) > 0.0);
    assert!(value(&one, "announcer_gratuitous_frames_total", ens18) >= 2.0);
    // Three, but for those that a machine which stalls comes too late for.
    assert!(value(&one, "announcer_probes_sent_total", ens18) >= 1.0);
    let validity = value(&one, "announcer_validity_seconds", "{}");
    assert!(validity > 0.0 && validity <= cluster.timing().validity().as_secs_f64());
    let renewals = r#"{verb="update",resource="leases",result="ok"}"#;
    assert!(value(&one, "announcer_api_requests_total", renewals) >= 1.0);
    assert!(value(&one, "announcer_lease_renew_duration_seconds_count", "{}") >= 1.0);

    // A handover.
    cluster.set_node_label(1, EXCLUDE, Some("")).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 2).unwrap();
    probe.wait_answer_by(cluster.lab().node(2).mac, SOON).unwrap();
    cluster.wait_for_status(1, |status| vip(status, VIP)["state"] == "silent").unwrap();
    let one = cluster.metrics(1).unwrap();
    assert_eq!(value(&one, "announcer_handover_duration_seconds_count", "{}"), 1.0);
    assert_eq!(value(&one, "announcer_conflicts_active", "{}"), 0.0);
    assert_eq!(value(&one, "announcer_vips", r#"{state="silent"}"#), 1.0);
    let two = cluster.metrics(2).unwrap();
    let offered = r#"{reason="offered"}"#;
    assert_eq!(value(&two, "announcer_takeovers_total", offered), 1.0);
    assert_eq!(value(&two, "announcer_takeover_duration_seconds_count", offered), 1.0);

    // A crash.
    cluster.create_service("other", OTHER).unwrap();
    cluster.set_node_label(1, EXCLUDE, None).unwrap();
    cluster.wait_for_holder(OTHER, SOON, |_| true).unwrap();
    cluster.wait_for_node_lease(1, SOON, |lease| lease.state == LeaseState::Open).unwrap();
    cluster.kill(2).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    probe.wait_answer_by(cluster.lab().node(1).mac, SOON).unwrap();
    let one = cluster.metrics(1).unwrap();
    assert!(value(&one, "announcer_takeovers_total", r#"{reason="fenced"}"#) >= 1.0);

    let scraped: BTreeSet<String> = one.into_keys().collect();
    assert_eq!(scraped, sample_names(&documented()));
    let (_, text) = cluster.get(1, "/metrics").unwrap();
    for (name, kind) in documented() {
        let name = name.strip_suffix("_total").unwrap_or(&name);
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is a {kind}");
    }
    assert!(text.ends_with("# EOF\n"));
}
