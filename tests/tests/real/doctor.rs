//! `announcer doctor` with the rights that the manifests give, and without.

use announcer_tests::{
    cluster::{Cluster, SOON},
    daemon::DaemonBuilder,
    examined::{Finding, Report},
    lab::UPLINK,
};

use crate::quick;

fn examined(cluster: &Cluster) -> Report {
    let node = cluster.lab().node(1);
    let doctor = DaemonBuilder::new("doctor")
        .unwrap()
        .named("doctor")
        .args(["--interface", UPLINK, "-o", "json", "--node-name", cluster.name(1), "--kubeconfig"])
        .arg(cluster.kubeconfig(node))
        .start(&node.ns)
        .unwrap();
    Report::of(doctor, SOON * 2).unwrap()
}

/// Level and text of what is said of rights.
fn rights(findings: &[Finding]) -> Vec<(&str, &str)> {
    let of = findings.iter().filter(|finding| finding.check == "rights");
    of.map(|it| (&*it.level, &*it.found)).collect()
}

/// Nothing that it asks may be denied: the pool of control planes sees to that.
#[test]
fn rights_that_are_missing_are_named_and_nothing_is_tried_that_is_denied() {
    let mut cluster = quick(1);
    let Report { code, findings, .. } = examined(&cluster);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(rights(&findings).len(), 1);
    let ("ok", found) = rights(&findings)[0] else { panic!("{findings:#?}") };
    assert!(found.contains("all "), "{found}");

    let control = cluster.control_plane_mut();
    let _spent: &mut announcer_tests::controlplane::ControlPlane = &mut *control;
    control.kubectl(&["delete", "clusterrolebinding", "announcer"]).unwrap();
    let Report { code, findings, .. } = examined(&cluster);
    assert_eq!(code, Some(7), "{findings:#?}");
    let rights = rights(&findings);
    for part in ["may not list, watch services", "may not get, list, watch nodes"] {
        let is_it = |(level, found): &&(&str, &str)| *level == "failure" && found.contains(part);
        assert!(rights.iter().any(|it| is_it(&it)), "{part}: {rights:#?}");
    }
    let is_lesser = |(level, found): &(&str, &str)| *level == "warning" && found.contains("events");
    assert!(rights.iter().any(is_lesser), "{rights:#?}");
    // Those of the Role stay.
    assert!(!rights.iter().any(|(_, found)| found.contains("leases")), "{rights:#?}");
}
