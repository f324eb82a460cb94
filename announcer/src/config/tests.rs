use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn config(flags: &[&str]) -> Result<Config, String> {
    let named: &[_] = if flags.contains(&"--node-name") { &[] } else { &["--node-name", "n"] };
    let words = ["announcer", "run"].iter().chain(named).chain(flags);
    let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
    let Command::Run(args) = cli.command else { return Err("not run".to_owned()) };
    Config::new(*args).map_err(|e| e.to_string())
}

#[test]
fn the_defaults_are_a_cluster_at_3_and_1_seconds() {
    let config = config(&[]).expect("the defaults work");
    assert!(config.interfaces.is_empty());
    assert_eq!(config.timing.lease_duration(), Duration::from_secs(3));
    assert_eq!(config.timing.renew_interval(), Duration::from_secs(1));
    assert!(matches!(config.source, Source::Cluster(c) if c.on_api_loss == OnApiLoss::Hold));
}

#[test]
fn refreshes_and_probes_can_be_switched_off() {
    let defaults = config(&[]).expect("valid");
    assert_eq!(defaults.announce, announce::Settings::default());
    assert_eq!(defaults.conflict.probe_interval, Some(conflict::Settings::DEFAULT_PROBE_INTERVAL));
    let off = config(&["--refresh-interval", "0", "--probe-interval", "0"]).expect("valid");
    assert_eq!((off.announce.refresh, off.conflict.probe_interval), (None, None));
    assert_eq!(off.announce.pacing, defaults.announce.pacing);
}

#[test]
fn static_vips_need_no_cluster() {
    let flags = ["--static-vip", "192.0.2.10,192.0.2.11", "--static-vip", "192.0.2.12"];
    let Source::Static(vips) = config(&flags).expect("valid").source else {
        unreachable!("static VIPs were given")
    };
    assert_eq!(vips.len(), 3);
}

#[test]
fn what_is_wrong_is_named() {
    for (flags, names) in [
        (&["--static-vip", "2001:db8::1"][..], "2001:db8::1"),
        (&["--static-vip", "224.0.0.1"], "multicast"),
        (&["--static-vip", "web"], "web"),
        (&["--lease-duration", "1s", "--renew-interval", "1s"], "at most 400ms"),
        (&["--lease-duration", "soon"], "soon"),
        (&["--interface", "/ens(/"], "ens("),
        (&["--interface", "a/b"], "a/b"),
        (&["--hook", "tc"], "tc"),
        (&["--announce-rate", "0"], "--announce-rate"),
        (&["--announce-rate", "100001"], "1 to 100000"),
        (&["--refresh-interval", "10ms"], "between 1s and 1h"),
        (&["--probe-interval", "20s"], "between 10ms and 10s"),
        (&["--on-conflict", "fight"], "fight"),
        (&["--rebalance-rate=-1"], "0.01 to 1000"),
        (&["--rebalance-rate", "NaN"], "0.01 to 1000"),
        (&["--service-selector", "a b"], "a b"),
        (&["--node-name", "Node_1"], "Node_1"),
    ] {
        let error = config(flags).expect_err(names);
        assert!(error.contains(names), "{flags:?}: {error}");
    }
}
