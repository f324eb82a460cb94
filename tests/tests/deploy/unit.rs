//! The systemd unit.

use std::{fs, process::Command};

use announcer_tests::deployment::{read, said};

/// As `systemd-analyze security` counts exposure, from 0 to 100: most of what is left is
/// what the daemon is for (the host's network, BPF, packet sockets, root for bpffs).
const EXPOSURE: &str = "--threshold=30";

#[test]
fn the_unit_is_valid_and_confined() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("announcer.service");
    // A program that is there on any machine.
    let shipped = read("systemd/announcer.service").unwrap();
    assert!(shipped.contains("ExecStart=/usr/local/bin/announcer run"));
    fs::write(&unit, shipped.replace("/usr/local/bin/announcer", "/bin/true")).unwrap();
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).arg(&unit);
        said(command).unwrap()
    };
    assert_eq!(analyze(&["verify", "--man=no"]), "");
    let report = analyze(&["security", "--offline=true", "--no-pager", EXPOSURE]);
    let capabilities = "CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON";
    assert!(shipped.contains(&format!("\nCapabilityBoundingSet={capabilities}\n")), "{report}");
}
