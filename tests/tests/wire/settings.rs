//! Flags that cannot work.

use announcer_tests::{daemon::DaemonBuilder, lab::UPLINK, netns::NetNs};

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
