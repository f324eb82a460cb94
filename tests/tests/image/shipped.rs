//! What nodes pull.

use std::{
    fs::{self, File},
    io::Read,
    net::Ipv4Addr,
    process::Command,
    time::Duration,
};

use announcer_tests::{
    cluster::{Cluster, NAMESPACE, Plane, Timing},
    confine,
    container::Image,
    daemon::{Daemon, Signal},
    deployment,
    lab::{CLIENT_NIC, CONTROL_IP, Lab, UPLINK},
    probe::Probe,
    seccomp,
};
use serde_json::{Value, json};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const SOON: Duration = Duration::from_secs(20);
/// Where a pod finds its credentials, below `/`.
const SERVICE_ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";
/// Of the binary, in bytes: nodes pull it.
const MOST: u64 = 15_000_000;

#[test]
fn the_image_is_one_small_static_binary() {
    let image = Image::unpack().unwrap();
    assert_eq!(image.layers, 1);
    let files: Vec<_> =
        image.rootfs().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["announcer"]);
    assert_eq!(image.config["Entrypoint"], json!(["/announcer"]));
    assert_eq!(image.config["User"], "0:0");
    assert_eq!(image.config["Env"], json!(["PATH=/"]));
    let labels = &image.config["Labels"];
    assert_eq!(labels["org.opencontainers.image.title"], "announcer");
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));

    let binary = image.rootfs().join("announcer");
    let size = fs::metadata(&binary).unwrap().len();
    assert!(size < MOST, "{size} bytes");
    let mut content = Vec::new();
    File::open(&binary).unwrap().read_to_end(&mut content).unwrap();
    let mentions = |path: &str| content.windows(path.len()).any(|it| it == path.as_bytes());
    // Paths of whoever built it would make another binary elsewhere.
    assert!(!mentions(env!("CARGO_MANIFEST_DIR").trim_end_matches("/tests")), "a path of ours");
    assert!(!mentions("/.cargo/registry"));
}

/// Four capabilities, no_new_privs, a root that cannot be written, bpffs: and clients are
/// answered, before a restart and after.
#[test]
fn it_answers_with_the_rights_of_its_pod() {
    let image = Image::unpack().unwrap();
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let start = || {
        let mut command = image.command(&node.ns).unwrap();
        let vip = VIP.to_string();
        command.args(["run", "--interface", UPLINK, "--static-vip", &vip]);
        Daemon::start(command, "announcer", &node.ns).unwrap()
    };
    let mut daemon = start();
    let probe = Probe::new(VIP).start(lab.client(), CLIENT_NIC).unwrap();
    probe.wait_answer_by(node.mac, SOON).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    for line in [
        format!("CapEff:\t{:016x}", confine::MASK),
        format!("CapBnd:\t{:016x}", confine::MASK),
        "NoNewPrivs:\t1".to_owned(),
    ] {
        assert!(status.lines().any(|it| it == line), "{line}: {status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", daemon.pid())).unwrap();
    let options = |place: &str| {
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut all = mounts.lines().map(fields);
        all.find(|mount| mount[1] == place).unwrap_or_else(|| panic!("{place}: {mounts}"))
    };
    assert!(options("/")[3].starts_with("ro,"), "{mounts}");
    assert!(options("/sys")[3].starts_with("ro,"), "{mounts}");
    assert!(options("/sys/fs/bpf")[3].starts_with("rw,"), "{mounts}");

    // What it pinned, the next pod finds.
    daemon.kill().unwrap();
    let mut daemon = start();
    daemon.wait_for_log("adopted=true", SOON).unwrap();
    probe.wait_answer_by(node.mac, SOON).unwrap();
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0));
}

/// The profile of ours is narrow, and wide enough for all that a pod does: TLS to the API
/// server, Leases, a scrape, what is run by hand beside it, an adoption, an orderly end.
#[test]
fn it_needs_no_system_call_beyond_its_profile() {
    let image = Image::unpack().unwrap();
    let cluster = Cluster::new(Plane::Real, 1, Timing::DEFAULT, []).unwrap();
    let node = cluster.lab().node(1);
    let mounts = image.rootfs().join(SERVICE_ACCOUNT);
    fs::create_dir_all(&mounts).unwrap();
    fs::copy(cluster.token(node), mounts.join("token")).unwrap();
    fs::write(mounts.join("ca.crt"), cluster.control_plane().pki().authority_pem()).unwrap();
    fs::write(mounts.join("namespace"), NAMESPACE).unwrap();
    let profile = profile();
    let pod = |mut command: Command, profile: &Value| {
        seccomp::restrict(&mut command, profile).unwrap();
        command.env("KUBERNETES_SERVICE_HOST", CONTROL_IP.to_string());
        command.env("KUBERNETES_SERVICE_PORT", cluster.url().rsplit(':').next().unwrap());
        command.env("ANNOUNCER_NODE_NAME", cluster.name(1)).env("ANNOUNCER_NAMESPACE", NAMESPACE);
        command.env("ANNOUNCER_INTERFACE", UPLINK);
        command
    };
    let start = |profile: &Value| {
        let mut command = pod(image.command(&node.ns).unwrap(), profile);
        command.arg("run");
        Daemon::start(command, "announcer", &node.ns).unwrap()
    };
    let by_hand = |args: &[&str]| {
        let mut command = pod(image.exec("announcer", &node.ns).unwrap(), &profile);
        command.args(args);
        node.ns.output(command, "")
    };
    let mut daemon = start(&profile);
    let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
    cluster.create_service("web", VIP).unwrap();
    probe.wait_answer_by(node.mac, SOON).unwrap();

    assert_eq!(cluster.metrics(1).unwrap()["announcer_vips"]["{state=\"held\"}"], 1.0);
    let status: Value = serde_json::from_str(&by_hand(&["status", "-o", "json"]).unwrap()).unwrap();
    assert!(status.to_string().contains(&VIP.to_string()), "{status:#}");
    by_hand(&["explain", "default/web"]).unwrap();
    by_hand(&["doctor"]).unwrap();

    daemon.kill().unwrap();
    let mut daemon = start(&profile);
    daemon.wait_for_log("adopted=true", SOON).unwrap();
    probe.wait_answer_by(node.mac, SOON).unwrap();
    daemon.signal(Signal::Term).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(0), "{}", daemon.print());

    // And it is in force: as with CRI-O's default, without bpf(2) it cannot begin.
    let mut narrower = profile.clone();
    let names = narrower["syscalls"][0]["names"].as_array_mut().unwrap();
    names.retain(|name| name != "bpf");
    let mut daemon = start(&narrower);
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(3), "{}", daemon.print());
}

fn profile() -> Value {
    let shipped = deployment::read("seccomp/announcer.json").unwrap();
    serde_json::from_str(&shipped).unwrap()
}
