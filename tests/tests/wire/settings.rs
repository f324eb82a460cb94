//! Flags that cannot work.

use std::process::Command;

use announcer_tests::{
    daemon::{DaemonBuilder, binary},
    lab::UPLINK,
    netns::NetNs,
};

use crate::scene::SOON;

#[test]
fn what_cannot_work_is_refused_with_its_name() {
    let ns = NetNs::new("node").unwrap();
    for (flags, parts) in [
        (&["--static-vip", "2001:db8::1"][..], &["2001:db8::1"][..]),
        (&["--static-vip", "224.0.0.5"], &["224.0.0.5"]),
        (&["--static-vip", "127.0.0.1"], &["127.0.0.1"]),
        (&["--static-vip", "0.0.0.0"], &["0.0.0.0"]),
        (&["--static-vip", "255.255.255.255"], &["255.255.255.255"]),
        (&["--static-vip", "192.0.2.300"], &["192.0.2.300"]),
        (&["--interface", "/ens(/"], &["/ens(/"]),
        (&["--interface", "name-that-is-too-long"], &["name-that-is-too-long"]),
        (&["--hook", "tc"], &["tc", "xdp-native", "tcx", "xdp-generic"]),
        (&["--lease-duration", "1s", "--renew-interval", "1s"], &["1s", "400ms"]),
        (&["--renew-interval", "10ms"], &["10ms", "50ms"]),
        (&["--lease-duration", "3"], &["--lease-duration"]),
        (&["--lease-duration", "2h"], &["7200s", "1h"]),
        (&["--announce-rate", "0"], &["--announce-rate"]),
        (&["--probe-interval", "1h"], &["--probe-interval", "10s"]),
        (&["--on-conflict", "fight"], &["fight", "defend", "yield", "report"]),
        (&["--max-vips", "0"], &["--max-vips"]),
        (&["--log", "no=such=level"], &["no=such=level"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
    ] {
        let run = DaemonBuilder::run(UPLINK).unwrap();
        let run =
            if flags[0] == "--static-vip" { run } else { run.args(["--static-vip", "192.0.2.10"]) };
        let mut daemon = run.args(flags).start(&ns).unwrap();
        let code = daemon.wait_exit(SOON).unwrap().code();
        let said = daemon.print();
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{flags:?}: {part:?} is not in\n{said}");
        }
    }
}

/// What `announcer config` writes to its two outputs, and its exit code, with no environment
/// but this.
fn config(environment: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String, String) {
    let mut config = Command::new(binary().unwrap());
    config.arg("config").args(args).env_clear().envs(environment.iter().copied());
    let output = config.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn wrong_values_in_the_environment_are_named_with_their_variables() {
    let environment = [
        ("ANNOUNCER_RENEW_INTERVAL", "abc"),
        ("ANNOUNCER_HOOK", "tc"),
        ("ANNOUNCER_REQUIRE_CLASS", "maybe"),
        ("ANNOUNCER_STATIC_VIP", "192.0.2.1,224.0.0.1"),
        ("ANNOUNCER_MAX_VIPS", ""),
        ("ANNOUNCER_LOG_FORMAT", "xml"),
    ];
    let (code, _, said) = config(&environment, &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "ANNOUNCER_RENEW_INTERVAL=\"abc\" (environment): not a duration",
        "ANNOUNCER_HOOK=\"tc\" (environment): not one of auto, xdp-native, tcx, xdp-generic",
        "ANNOUNCER_REQUIRE_CLASS=\"maybe\" (environment): not one of true, false",
        "ANNOUNCER_STATIC_VIP=\"192.0.2.1,224.0.0.1\" (environment): 224.0.0.1 is a multicast",
        "ANNOUNCER_MAX_VIPS=\"\" (environment): ",
        "unset it for the default",
        "ANNOUNCER_LOG_FORMAT=\"xml\" (environment): not one of human, json",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(said.lines().all(|line| line.starts_with("announcer: ANNOUNCER_")), "{said}");
    // What a flag says is no business of the environment's, whoever is wrong.
    let environment = [("ANNOUNCER_RENEW_INTERVAL", "abc")];
    let (code, _, said) = config(&environment, &["--renew-interval", "500ms"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = config(&[("ANNOUNCER_LOG_FORMAT", "xml")], &["--log-format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = config(&environment, &["--renew-interval", "xyz"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--renew-interval") && said.contains("xyz"), "{said}");
    assert!(!said.contains("(environment)"), "{said}");
}

#[test]
fn timings_that_do_not_fit_are_told_with_where_they_come_from() {
    let (code, _, said) = config(&[("ANNOUNCER_LEASE_DURATION", "1s")], &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in ["ANNOUNCER_LEASE_DURATION=\"1s\"", "--renew-interval has its default"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn misspelt_variables_are_warned_of_and_those_of_services_are_not() {
    let environment = [
        ("ANNOUNCER_INTERFACES", "ens18"),
        ("ANNOUNCER_HOOK", "tcx"),
        ("ANNOUNCER_SERVICE_HOST", "10.96.0.7"),
        ("ANNOUNCER_SERVICE_PORT_METRICS", "9842"),
        ("ANNOUNCER_PORT", "tcp://10.96.0.7:9842"),
        ("ANNOUNCER_PORT_9842_TCP_ADDR", "10.96.0.7"),
    ];
    let (code, settings, said) = config(&environment, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("did you mean ANNOUNCER_INTERFACE?"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(settings.contains("environment, ANNOUNCER_HOOK"), "{settings}");
}

#[test]
fn no_sentence_is_said_twice() {
    for (flags, sentence) in [
        (&["--static-vip", "224.0.0.1"][..], "is a multicast address"),
        (&["--static-vip", "2001:db8::1"], "IPv4 only"),
        (&["--config", "/nowhere/announcer.yaml"], "No such file"),
        (&["--lease-duration", "1s"], "two renewals must fit"),
    ] {
        let (code, _, said) = config(&[], flags);
        assert_eq!(code, Some(2), "{said}");
        assert_eq!(said.matches(sentence).count(), 1, "{said}");
    }
}

#[test]
fn a_variable_that_does_not_go_with_a_flag_is_named() {
    let mut doctor = Command::new(binary().unwrap());
    doctor.args(["doctor", "--facts"]).env_clear().env("ANNOUNCER_FROM", "facts.json");
    let output = doctor.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["ANNOUNCER_FROM=\"facts.json\" (environment): ", "--facts", "cannot be used"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}
