//! All nodes and VIPs, as `announcer status --cluster` shows them.

use super::*;
use crate::{explain::overview::Overview, intent::watch::Unreadable};

fn overview(objects: Objects, watched: &Watched) -> (Value, String) {
    let effective = facts::effective(watched.records.as_ref(), &selection());
    let overview = Overview::new(&mut Case::new(&objects, &effective, GIVEN), watched);
    (serde_json::to_value(&overview).expect("JSON"), overview.to_string())
}

fn objects(objects: Vec<Object>) -> Objects {
    Objects { objects, ..Objects::default() }
}

fn web_on_two_nodes() -> Objects {
    let web = service("web", json!({"announce": "true"}));
    objects(vec![web, node("n1", "True"), node("n2", "True")])
}

#[test]
fn the_dead_are_told_from_the_living() {
    let leases = [
        node_lease("n1", 7, 3, true, "up"),
        node_lease("n2", 7, 3, true, "up"),
        held("n1", "8d6f/3"),
    ];
    let (json, table) = overview(web_on_two_nodes(), &watched(&leases, &["n1"], 3));
    let row = |of: &str| table.lines().find(|line| line.starts_with(of)).unwrap_or_default();
    assert!(!row("n1").contains("last said") && row("n2").contains("last said: ens18"), "{table}");
    let vip = &json["vips"][0];
    assert_eq!((&vip["eligible"], &vip["announced"]), (&json!(1), &json!(true)), "{json:#}");
    assert_eq!(json["nodes"][1]["session"], "silent");
}

#[test]
fn doubts_are_told() {
    let mut lease = node_lease("n1", 7, 3, true, "up");
    let conflict = json!({"192.0.2.10":
        {"mac": "52:54:00:00:00:07", "interface": "ens18", "answered": true}});
    lease["metadata"]["annotations"]["l2announcer.io/conflicts"] = json!(conflict.to_string());
    let watched = watched(&[lease, held("n1", "8d6f/3")], &["n1"], 3);
    let (json, table) = overview(web_on_two_nodes(), &watched);
    let vip = &json["vips"][0];
    assert_eq!((&vip["announced"], &vip["finding"]), (&json!(true), &json!("address-conflict")));
    assert!(table.contains("52:54:00:00:00:07"), "{table}");
}

#[test]
fn where_there_is_no_vip_it_says_why() {
    let balancer = |labels: Value, ingress: Value| {
        Object::Service(
            serde_json::from_value(json!({
                "metadata": {"namespace": "default", "name": "web", "labels": labels},
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": ingress}},
            }))
            .expect("a Service"),
        )
    };
    let forbidden = Unreadable::Forbidden("services is forbidden".to_owned());
    let unreadable =
        Objects { unreadable: [(Kind::Service, forbidden)].into(), ..Objects::default() };
    let address = || json!([{"ip": "192.0.2.10"}]);
    for (all, says) in [
        (objects(vec![]), &["no Service is selected", "type: kubectl get services"][..]),
        (
            objects(vec![balancer(json!({}), address())]),
            &["no Service is selected", "type: announcer explain default/web"],
        ),
        (
            objects(vec![balancer(json!({"announce": "true"}), json!([]))]),
            &["no address", "type: announcer explain default/web"],
        ),
        (unreadable, &["services is forbidden", "type: kubectl auth can-i list services"]),
    ] {
        let (json, table) = overview(all, &watched(&[], &[], 0));
        assert_eq!(json["vips"], json!([]));
        let line = table.lines().find(|line| line.starts_with("no VIPs: ")).unwrap_or_default();
        assert!(says.iter().all(|part| line.contains(part)), "{says:?}: {table}");
        assert!(!table.contains("HOLDER"), "{table}");
    }
}

#[test]
fn leases_in_another_namespace_are_pointed_at() {
    let mut elsewhere = watched(&[], &[], 0);
    elsewhere.elsewhere = ["lab".to_owned()].into();
    let (json, table) = overview(web_on_two_nodes(), &elsewhere);
    assert_eq!(json["vips"][0]["finding"], "leases-elsewhere", "{json:#}");
    assert!(table.contains("type: announcer status --cluster --namespace lab"), "{table}");
}
