//! What is said of the cluster.

use super::*;

#[test]
fn clusters() {
    check(&[
        (|f| f.cluster = Some(cluster()), O, "Kubernetes v1.34.0 answers within 3.0 ms", ""),
        (|f| of_cluster(f).credentials = Err("no file".into()), F, "no file", "--kubeconfig"),
        (|f| of_cluster(f).latencies_ms = Err("refused".into()), F, "no answer: refused", "routes"),
        // A renewal is given up after (2.4 s - 1 s) / 2.
        (|f| of_cluster(f).latencies_ms = Ok(vec![300.0]), W, "given up after 700 ms", "etcd"),
        (|f| of_cluster(f).latencies_ms = Ok(vec![3.0, 701.0]), F, "within 701.0 ms", "etcd"),
        (|f| refuse(f, "services"), F, "may not list, watch services", "kubectl apply -k"),
        (|f| refuse(f, "leases"), F, "leases.coordination.k8s.io", "announcer-system"),
        (|f| refuse(f, "services/status"), W, "does nothing", "components/service-condition"),
        (|f| refuse(f, "events"), W, "not as Events", "kubectl apply -k"),
        (
            |f| of_cluster(f).rights[0].is_allowed = Err("404".into()),
            W,
            "cannot be asked for",
            "rbac.yaml",
        ),
        (|f| of_cluster(f).node_object = Some(Ok(None)), F, "no Node node-1", "--node-name"),
        (|f| of_cluster(f).node_object = None, W, "may not be read", "rights"),
        (|f| of_cluster(f).node = Err("Node_1".into()), F, "Node_1", "--node-name"),
        (
            |f| of_cluster(f).node_object = Some(Ok(Some(NodeObject::default()))),
            W,
            "not Ready",
            "kubectl describe node",
        ),
        (|f| of_cluster(f).is_node_given = false, O, "Ready (by the host name", ""),
        (|f| f.cluster = None, O, "not looked at", "are checked, too"),
        (|f| of_cluster(f).serves_policies = Ok(false), O, "are not served", "deploy/crds"),
    ]);
}

#[test]
fn what_could_not_be_checked_is_said() {
    let cases: [fn(&mut Cluster); 2] = [
        |cluster| cluster.credentials = Err("no file".to_owned()),
        |cluster| cluster.latencies_ms = Err("refused".to_owned()),
    ];
    for cripple in cases {
        let mut facts = veth();
        cripple(of_cluster(&mut facts));
        let findings = all(&facts);
        let unchecked = findings.iter().find(|it| it.check == "not checked");
        let unchecked = unchecked.unwrap_or_else(|| panic!("{findings:#?}"));
        assert!(unchecked.found.contains("rights, this node's Node"), "{unchecked:#?}");
        assert!(unchecked.remedy.is_some());
    }
}
