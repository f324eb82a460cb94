//! A real run, recorded (`recorded/`), and what becomes of it when one thing is not as it
//! should be.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::{
    datapath::{
        namespace::Holder,
        netlink::{AttachedMode, AttachedProgram, InterfaceFacts},
        survey::Found,
    },
    doctor::{
        facts::{Cluster, Daemon, NodeObject, Pulse, Right},
        report::{Level, Report},
        rights::RULES,
    },
    types::IfIndex,
};

mod cluster;

/// A node whose uplink ens18 is a veth, without a cluster.
fn veth() -> Facts {
    serde_json::from_str(include_str!("recorded/veth.json")).expect("recorded facts")
}

fn network(facts: &mut Facts) -> &mut Network {
    facts.network.as_mut().expect("a network")
}

fn ens18(facts: &mut Facts) -> &mut InterfaceFacts {
    let interfaces = &mut network(facts).snapshot.interfaces;
    interfaces.iter_mut().find(|facts| facts.name == "ens18").expect("the uplink")
}

fn hooks(facts: &mut Facts) -> &mut crate::datapath::survey::Hooks {
    let index = ens18(facts).index;
    network(facts).hooks.get_mut(&index).expect("its hooks")
}

fn sysctl(facts: &mut Facts, interface: &str, name: &str, value: &str) {
    let of = network(facts).sysctls.entry(interface.to_owned()).or_default();
    of.insert(name.to_owned(), value.to_owned());
}

fn without_capability(facts: &mut Facts, name: &str) {
    let own = facts.process.capabilities.as_mut().expect("capabilities");
    own.retain(|own| own != name && own != "CAP_SYS_ADMIN");
}

fn running(pulse: Pulse) -> Found<Option<Daemon>> {
    Ok(Some(Daemon { holder: Holder { pid: Some(77), command: None }, pulse }))
}

fn add_interface(facts: &mut Facts, name: &str, kind: &str) -> IfIndex {
    let mut added = InterfaceFacts::example(99, name);
    added.kind = Some(kind.to_owned());
    let index = added.index;
    network(facts).snapshot.interfaces.push(added);
    index
}

fn xdp(facts: &mut Facts, id: u32, mode: AttachedMode) {
    ens18(facts).xdp.push(AttachedProgram { id, name: None, mode });
}

fn cluster() -> Cluster {
    let each = RULES.iter().flat_map(|rule| rule.verbs.iter().map(move |verb| (rule, verb)));
    let right = |(rule, verb): (&crate::doctor::rights::Rule, &&str)| Right {
        group: rule.group.to_owned(),
        resource: rule.resource.to_owned(),
        verb: (*verb).to_owned(),
        is_allowed: Ok(true),
    };
    Cluster {
        namespace: "announcer-system".to_owned(),
        node: Ok("node-1".to_owned()),
        is_node_given: true,
        credentials: Ok(()),
        latencies_ms: Ok(vec![1.5, 2.0, 2.5, 3.0]),
        version: Some("v1.34.0".to_owned()),
        rights: each.map(right).collect(),
        node_object: Some(Ok(Some(NodeObject { is_ready: true, is_excluded: false }))),
        serves_policies: Ok(true),
    }
}

fn of_cluster(facts: &mut Facts) -> &mut Cluster {
    facts.cluster.get_or_insert_with(cluster)
}

fn refuse(facts: &mut Facts, resource: &str) {
    let rights = of_cluster(facts).rights.iter_mut().filter(|right| right.resource == resource);
    rights.for_each(|right| right.is_allowed = Ok(false));
}

#[test]
fn what_is_as_it_should_be_is_neither_warned_of_nor_failed() {
    let mut facts = veth();
    of_cluster(&mut facts);
    let bad: Vec<_> = all(&facts).into_iter().filter(|it| it.level > Level::Ok).collect();
    assert_eq!(bad, []);
}

/// What is wrong, how bad that is, a part of what is said, and of the remedy.
type Case = (fn(&mut Facts), Level, &'static str, &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    for (cripple, level, found, remedy) in cases {
        let mut facts = veth();
        cripple(&mut facts);
        let findings = all(&facts);
        let is_it = |it: &&Finding| it.level == *level && it.found.contains(found);
        let finding = findings.iter().find(is_it);
        let finding = finding.unwrap_or_else(|| panic!("no {level:?} {found:?}: {findings:#?}"));
        let said = finding.remedy.as_deref().unwrap_or_default();
        assert!(said.contains(remedy), "{remedy:?} is not in {finding:#?}");
        let worse = findings.iter().filter(|it| it.level > *level);
        assert_eq!(worse.collect::<Vec<_>>(), Vec::<&Finding>::new(), "{found}");
    }
}

use Level::{Failure as F, Ok as O, Warning as W};

#[test]
fn kernels() {
    check(&[
        (|f| f.kernel.version = Ok([5, 10, 0]), F, "Linux 6.18", "Linux 5.15 or later"),
        (|f| f.kernel.version = Ok([6, 1, 0]), O, "no tcx", "generic XDP costs"),
        (|f| f.kernel.features.xdp = Ok(false), F, "the kernel has none", "CONFIG_BPF_SYSCALL"),
        (|f| f.kernel.features.ring_buffer = Ok(false), F, "has none", "Linux 5.8"),
        (
            |f| f.kernel.features.own_programs = Err("verifier: invalid argument".to_owned()),
            F,
            "verifier: invalid argument",
            "bug report",
        ),
        (
            |f| {
                f.kernel.features.own_programs = Err("Operation not permitted (os error 1)".into());
                f.process.has_seccomp = true;
            },
            F,
            "os error 1",
            "seccomp",
        ),
        (|f| f.kernel.has_btf = false, O, "does not need it", ""),
        (
            |f| f.kernel.lockdown = Some("none integrity [confidentiality]".to_owned()),
            O,
            "confidentiality: fine",
            "",
        ),
        (
            |f| drop(f.kernel.sysctls.insert("net/core/bpf_jit_enable".into(), "0".into())),
            W,
            "interpreted",
            "bpf_jit_enable=1",
        ),
    ]);
}

#[test]
fn permissions() {
    check(&[
        (|f| without_capability(f, "CAP_NET_RAW"), F, "CAP_NET_RAW is missing", "add CAP_NET_RAW"),
        (|f| without_capability(f, "CAP_BPF"), F, "CAP_BPF is missing", "AmbientCapabilities="),
        (|f| without_capability(f, "CAP_PERFMON"), W, "CAP_PERFMON is missing", "add CAP_PERFMON"),
        (|f| without_capability(f, ""), O, "superfluous", ""),
        (
            |f| {
                f.kernel.version = Ok([5, 10, 0]);
                f.process.memlock = Some(65_536);
            },
            F,
            "65536 octets",
            "LimitMEMLOCK=infinity",
        ),
        (|f| f.bpffs.is_mounted = Ok(false), W, "none at /sys/fs/bpf", "mount -t bpf"),
        (
            |f| {
                without_capability(f, "");
                f.bpffs.is_mounted = Ok(false);
            },
            F,
            "may not mount one",
            "mount -t bpf",
        ),
        (
            |f| f.bpffs.is_writable = Err("Read-only file system (os error 30)".to_owned()),
            F,
            "Read-only file system",
            "remount,rw",
        ),
    ]);
}

#[test]
fn limits_of_locked_memory_are_no_matter_since_linux_5_11() {
    let mut facts = veth();
    facts.process.memlock = Some(65_536);
    assert!(!all(&facts).iter().any(|it| it.check == "memlock"));
}

#[test]
fn interfaces() {
    check(&[
        (|f| ens18(f).is_up = false, F, "it is down", "ip link set ens18 up"),
        (|f| ens18(f).has_carrier = false, F, "no carrier", "cable"),
        (|f| ens18(f).mac = None, F, "no MAC", "--interface"),
        (|f| ens18(f).mtu = 20, F, "MTU 20", "mtu 1500"),
        (|f| ens18(f).is_ethernet = false, F, "not Ethernet", "--interface"),
        (|f| network(f).snapshot.default_route = None, F, "a default route", "one of: ens18"),
        (|f| f.settings.interfaces = vec!["eth7".into()], F, "interface eth7", "one of: ens18"),
        (|f| network(f).snapshot.on_link.clear(), W, "it has no networks", "ip address add"),
        (|f| f.settings.static_vips = vec!["198.51.100.1".into()], W, "in none of", "choose"),
        (|f| f.settings.static_vips = vec!["224.0.0.1".into()], F, "multicast", "--static-vip"),
        (|f| f.daemon = running(Pulse::Turns), O, "process 77 runs", ""),
        (
            |f| f.daemon = running(Pulse::Hangs("it has not answered for 2s".to_owned())),
            F,
            "process 77 hangs: it has not answered for 2s",
            "kill -CONT 77",
        ),
        (
            |f| f.daemon = running(Pulse::Unknown("for root only".to_owned())),
            W,
            "not known: for root only",
            "announcer live",
        ),
        (|f| hooks(f).own_program = Some(7), W, "but no daemon runs", "announcer detach"),
        (
            |f| ens18(f).master = Some(add_interface(f, "br0", "bridge")),
            O,
            "it is a port of br0: requests for VIPs held elsewhere pass",
            "",
        ),
        (
            |f| {
                ens18(f).master = Some(add_interface(f, "br0", "bridge"));
                add_interface(f, "kube-ipvs0", "dummy");
            },
            W,
            "kube-ipvs0",
            "--interface br0",
        ),
        (|f| f.network = Err("EPERM".to_owned()), F, "does not tell: EPERM", "netlink"),
    ]);
}

#[test]
fn hooks_that_auto_takes_and_why() {
    check(&[
        (|_| (), O, "hook tcx: the best there is: native XDP costs veth", ""),
        (|f| hooks(f).tcx = Ok(None), O, "hook xdp-generic", "Linux 6.6"),
        (
            |f| {
                ens18(f).kind = None;
                hooks(f).driver = Some("mlx5_core".to_owned());
            },
            O,
            "hook xdp-native: the best there is",
            "",
        ),
        (
            |f| {
                ens18(f).kind = None;
                hooks(f).driver = Some("e1000".to_owned());
                hooks(f).offers_native_xdp = Ok(false);
            },
            O,
            "hook tcx: the best there is: the driver has no native XDP",
            "",
        ),
        (|f| xdp(f, 7, AttachedMode::Generic), W, "program id 7, generic mode", "prog show id 7"),
        (
            |f| {
                xdp(f, 7, AttachedMode::Generic);
                hooks(f).tcx = Ok(None);
            },
            F,
            "there is no hook for the program: an XDP program of somebody else",
            "xdpgeneric off",
        ),
        (
            |f| {
                xdp(f, 7, AttachedMode::Native);
                f.settings.hook = "xdp-generic".to_owned();
            },
            F,
            "xdp-generic is not to be had here: an XDP program of somebody else",
            "--hook auto",
        ),
        (
            |f| {
                f.settings.hook = "tcx".to_owned();
                hooks(f).tcx = Ok(None);
            },
            F,
            "tcx needs Linux 6.6",
            "--hook auto",
        ),
        (
            |f| {
                hooks(f).tcx = Ok(Some(vec![3, 5, 9]));
                hooks(f).own_program = Some(5);
                hooks(f).program_names = [(3, "cil_from_netdev".to_owned())].into();
            },
            W,
            "at tcx, before ours: cil_from_netdev (program id 3)",
            "restart the announcer",
        ),
        (|f| hooks(f).tcx = Ok(Some(vec![3])), O, "at tcx, unnamed (program id 3): ours goes", ""),
        (|f| hooks(f).tc_filters = Ok(vec!["bpf".into()]), O, "at tc ingress", ""),
    ]);
}

#[test]
fn our_own_program_is_not_somebody_elses() {
    let mut facts = veth();
    xdp(&mut facts, 7, AttachedMode::Generic);
    hooks(&mut facts).own_program = Some(7);
    facts.daemon = running(Pulse::Turns);
    let findings = all(&facts);
    assert!(findings.iter().all(|it| it.level == Level::Ok), "{findings:#?}");
    assert!(findings.iter().any(|it| it.found.contains("is attached: program id 7")));
}

#[test]
fn settings() {
    check(&[
        (|f| sysctl(f, "ens18", "proxy_arp", "1"), W, "proxy_arp is on", "ens18.proxy_arp=0"),
        (|f| sysctl(f, "all", "proxy_arp", "1"), W, "proxy_arp is on", "all.proxy_arp=0"),
        (|f| sysctl(f, "ens18", "arp_ignore", "8"), O, "arp_ignore 8, ", ""),
        (|f| sysctl(f, "all", "rp_filter", "1"), O, "the default route is here", ""),
        (|f| sysctl(f, "all", "rp_filter", "2"), O, "(loose): fine", ""),
        (
            |f| {
                sysctl(f, "ens18", "rp_filter", "1");
                f.settings.interfaces = vec!["ens18".into()];
                network(f).snapshot.default_route = None;
            },
            W,
            "the default route is elsewhere",
            "ens18.rp_filter=2",
        ),
        (
            |f| {
                add_interface(f, "kube-ipvs0", "dummy");
            },
            O,
            "strictARP is not needed",
            "",
        ),
        (
            |f| {
                let lo = network(f).snapshot.by_name("lo").expect("lo").index;
                let vip = "192.0.2.10".parse().expect("an address");
                network(f).addresses.entry(lo).or_default().insert(vip);
            },
            O,
            "addresses on lo: 192.0.2.10",
            "arp_ignore=1",
        ),
    ]);
}

#[test]
fn machines_and_clocks() {
    check(&[
        (|f| f.machine.vendor = Some("QEMU".into()), O, "QEMU (KVM", "ipfilter-net0"),
        (|f| f.machine.vendor = Some("VMware, Inc.".into()), O, "VMware", "SpoofGuard"),
        (|f| f.machine.product = Some("OpenStack Nova".into()), O, "OpenStack", "allowed-address"),
        (|f| f.machine.vendor = Some("Amazon EC2".into()), W, "do not go by ARP", "load balancer"),
        (|f| f.clock.set_ppm = Ok(-480.0), O, "corrected by -480 ppm", ""),
        (|f| f.clock.measured_ppm = 5_000.0, W, "measured 5000 ppm", "chronyc"),
        (|f| f.clock.set_ppm = Ok(-100_100.0), F, "leases bear 200000 ppm", "chronyc"),
        (|f| f.clock.source = Some("hpet".into()), W, "hpet", "dmesg"),
    ]);
}

#[test]
fn what_comes_first_is_a_failure_and_the_count_is_right() {
    let mut facts = veth();
    sysctl(&mut facts, "ens18", "proxy_arp", "1");
    without_capability(&mut facts, "CAP_PERFMON");
    ens18(&mut facts).is_up = false;
    let report = Report::new(all(&facts));
    assert_eq!((report.warnings, report.failures), (2, 1));
    let text = report.to_string();
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(last, "First: ens18: ip link set ens18 up");
    assert!(text.contains("2 warnings, 1 failure\n"), "{text}");
}

#[test]
fn facts_are_the_same_after_they_were_written_down() {
    let mut facts = veth();
    of_cluster(&mut facts);
    let text = serde_json::to_string(&facts).expect("facts");
    assert_eq!(serde_json::from_str::<Facts>(&text).expect("the same"), facts);
}
