//! Facts in, chain out: what decides among several things that are wrong, and how long it
//! is worth waiting. That each link is right is shown on a real API server.

mod overview;
mod wire;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    explain::facts,
    intent::index::{Object, Selection},
    ownership::store::Records,
    types::NodeName,
};

const GIVEN: Given<'_> = Given { namespace: "announcer-system", kubeconfig: None };

fn selection() -> Selection {
    Selection {
        services: "announce=true".parse().expect("a selector"),
        class: "l2announcer.io/l2".to_owned(),
        classless: true,
        external_ips: false,
        exclude_cordoned: false,
    }
}

fn service(name: &str, labels: Value) -> Object {
    let object = json!({
        "metadata": {"namespace": "default", "name": name, "labels": labels},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
    });
    Object::Service(serde_json::from_value(object).expect("a Service"))
}

fn node(name: &str, ready: &str) -> Object {
    let object = json!({
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    Object::Node(serde_json::from_value(object).expect("a Node"))
}

/// A node lease in session `8d6f/<transitions>`, and the link that it tells of.
fn node_lease(name: &str, version: u32, transitions: u32, open: bool, link: &str) -> Value {
    let ens18 = json!({"link": link, "hook": "tcx", "mac": "02:00:00:00:00:01"});
    json!({
        "metadata": {
            "name": format!("announcer-node-{name}"),
            "uid": "8d6f",
            "resourceVersion": version.to_string(),
            "labels": {"l2announcer.io/session": if open { "open" } else { "over" }},
            "annotations": {"l2announcer.io/interfaces": json!({"ens18": ens18}).to_string()},
        },
        "spec": {"leaseDurationSeconds": 3, "leaseTransitions": transitions},
    })
}

fn vip_lease(holder: Option<&str>, annotations: Value) -> Value {
    json!({
        "metadata": {
            "name": "announcer-vip-192-0-2-10",
            "uid": "beef",
            "resourceVersion": "1",
            "annotations": annotations,
        },
        "spec": {"holderIdentity": holder},
    })
}

fn held(by: &str, session: &str) -> Value {
    vip_lease(Some(by), json!({"l2announcer.io/session": session}))
}

fn watched(leases: &[Value], alive: &[&str], seconds: u64) -> Watched {
    let mut records = Records::default();
    for lease in leases {
        records.insert(&serde_json::from_value(lease.clone()).expect("a Lease"));
    }
    let alive = alive.iter().map(|node| node.parse::<NodeName>().expect("a node name"));
    Watched {
        records: Some(records),
        renewed: alive.map(|node| (node, Duration::ZERO)).collect(),
        lasted: Duration::from_secs(seconds),
        ..Watched::default()
    }
}

fn explain(objects: Vec<Object>, watched: &Watched, target: &str) -> Explanation {
    let objects = Objects { objects, ..Objects::default() };
    let effective = facts::effective(watched.records.as_ref(), &selection());
    let mut case = Case::new(&objects, &effective, GIVEN);
    case.explain(&target.parse().expect("a target"), watched)
}

fn web(watched: &Watched) -> Explanation {
    let objects =
        vec![service("web", json!({"announce": "true"})), node("n1", "True"), node("n2", "True")];
    explain(objects, watched, "default/web")
}

#[test]
fn leases_decide_who_announces() {
    use Finding as F;
    let n1 = || node_lease("n1", 7, 3, true, "up");
    let n2 = || node_lease("n2", 8, 5, true, "up");
    let over = |name| node_lease(name, 9, 3, false, "up");
    let mine = || held("n1", "8d6f/3");
    let edited = || vip_lease(Some("n1"), json!({}));
    let released = || vip_lease(None, json!({}));
    let offered = || vip_lease(None, json!({"l2announcer.io/offered-by": "n1"}));
    for (says, leases, alive, finding, worth) in [
        ("nobody", vec![], &[][..], Some(F::NoAnnouncer), None),
        ("held", vec![n1(), mine()], &["n1"], None, None),
        ("not seen yet", vec![n1(), mine()], &[], Some(F::HolderSilent), Some(3)),
        (
            "older session",
            vec![node_lease("n1", 7, 4, true, "up"), mine()],
            &["n1"],
            Some(F::SessionOver),
            Some(3),
        ),
        ("fenced", vec![over("n1"), n2(), mine()], &["n2"], Some(F::SessionOver), Some(3)),
        ("fenced, and alone", vec![over("n1"), mine()], &[], Some(F::SessionOver), None),
        ("gone", vec![n2(), mine()], &["n2"], Some(F::SessionOver), Some(3)),
        ("edited", vec![n1(), edited()], &["n1"], Some(F::LeaseEdited), Some(3)),
        ("released", vec![n1(), released()], &["n1"], Some(F::NobodyTakes), Some(3)),
        ("absent", vec![n1()], &["n1"], Some(F::NobodyTakes), Some(3)),
        ("absent, none alive", vec![n1()], &[], Some(F::NoSession), Some(3)),
        ("none open", vec![over("n1"), released()], &[], Some(F::NoSession), None),
        ("offered", vec![n1(), offered()], &["n1"], None, None),
        ("offered by the gone", vec![over("n1"), offered()], &[], Some(F::NoSession), None),
    ] {
        let said = web(&watched(&leases, alive, 0));
        assert_eq!(said.finding, finding, "{says}: {said:#?}");
        assert_eq!(said.announced, Some(finding.is_none()), "{says}");
        assert_eq!(said.undecided, worth.map(Duration::from_secs), "{says}");
        assert_eq!(said.remedy.is_some(), finding.is_some(), "{says}: what to type");
    }
}

#[test]
fn without_any_announcer_one_link_has_what_to_type() {
    let two = json!({
        "metadata": {"namespace": "default", "name": "web", "labels": {"announce": "true"}},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}, {"ip": "192.0.2.11"}]}},
    });
    let two = Object::Service(serde_json::from_value(two).expect("a Service"));
    let said = explain(vec![two, node("n1", "True")], &watched(&[], &[], 3), "default/web");
    assert_eq!(said.finding, Some(Finding::NoAnnouncer));
    let typed: Vec<&str> =
        said.chain.iter().filter(|link| link.remedy.is_some()).map(|link| link.link).collect();
    assert_eq!(typed, ["announcers"], "{said:#?}");
    assert!(said.chain.iter().any(|link| link.says.starts_with("1 of 1 node may")), "{said:#?}");
}

#[test]
fn who_offers_and_dies_answers_no_more() {
    let offered = || vip_lease(None, json!({"l2announcer.io/offered-by": "n1"}));
    let leases = || [node_lease("n1", 7, 3, true, "up"), offered()];
    let soon = web(&watched(&leases(), &[], 2));
    assert_eq!((soon.announced, soon.undecided), (Some(true), Some(Duration::from_secs(3))));
    let late = web(&watched(&leases(), &[], 3));
    assert_eq!((late.announced, late.finding), (Some(false), Some(Finding::NoSession)));
}

#[test]
fn the_dead_do_not_count_as_able() {
    let lease = |name, open| node_lease(name, 7, 3, open, "up");
    let with =
        |others: Vec<Value>| [vec![lease("n1", true), held("n1", "8d6f/3")], others].concat();
    let two = || with(vec![lease("n2", true)]);
    let (n1, both) = (&["n1"][..], &["n1", "n2"][..]);
    for (leases, alive, seconds, count, told, worth) in [
        (two(), both, 1, "2 of 2", "n2: eligible, session open and renewed", None),
        (two(), n1, 1, "2 of 2", "n2: eligible, session open", Some(3)),
        (
            two(),
            n1,
            3,
            "1 of 2 nodes may hold it, not counting 1",
            "n2: eligible, but not alive: session open, but not",
            None,
        ),
        (with(vec![lease("n2", false)]), n1, 1, "1 of 2", "but not alive: session over", None),
        (with(vec![]), n1, 1, "1 of 2", "n2: eligible, but not alive: no node lease", None),
        (two(), &[], 3, "none of them is alive", "n1: eligible, but not alive", Some(3)),
    ] {
        let said = web(&watched(&leases, alive, seconds));
        let nodes = said.chain.iter().find(|link| link.link == "nodes").expect("a link");
        assert!(nodes.says.contains(count), "{count}: {nodes:#?}");
        assert!(nodes.details.join("\n").contains(told), "{told}: {nodes:#?}");
        assert_eq!(said.undecided, worth.map(Duration::from_secs), "{nodes:#?}");
    }
}

#[test]
fn the_dead_have_said_what_they_said_of_their_links() {
    let leases = |link| {
        [
            node_lease("n1", 7, 3, true, "up"),
            node_lease("n2", 7, 3, true, link),
            held("n1", "8d6f/3"),
        ]
    };
    for (alive, says) in [(&["n1", "n2"][..], "it says that"), (&["n1"], "it said last that")] {
        let said = web(&watched(&leases("no-carrier"), alive, 3));
        let nodes = said.chain.iter().find(|link| link.link == "nodes").expect("a link");
        assert!(nodes.details[1].contains(says), "{nodes:#?}");
    }
}

#[test]
fn leases_in_another_namespace_leave_it_open() {
    let mut elsewhere = watched(&[], &[], 0);
    elsewhere.elsewhere = ["lab".to_owned(), "other".to_owned()].into();
    let said = web(&elsewhere);
    assert_eq!((said.announced, said.finding), (None, Some(Finding::LeasesElsewhere)), "{said:#?}");
    assert!(!said.conclusion.contains("not announced"), "{}", said.conclusion);
    let again = "announcer explain default/web --namespace lab";
    assert_eq!(said.remedy.as_deref(), Some(again));
    assert!(said.conclusion.contains("cannot be told") && said.conclusion.ends_with(again));
    // What is wrong whoever announces comes first where nothing can be right.
    let said = explain(Vec::new(), &elsewhere, "default/web");
    assert_eq!((said.announced, said.finding), (Some(false), Some(Finding::NoSuchService)));
}

#[test]
fn commands_to_type_have_the_flags_that_were_given() {
    let typed = |kubeconfig: Option<&str>, namespace, target: &str, leases: &[Value]| {
        let objects = vec![service("web", json!({"announce": "true"})), node("n1", "True")];
        let objects = Objects { objects, ..Objects::default() };
        let given = Given { namespace, kubeconfig: kubeconfig.map(std::path::Path::new) };
        let effective = facts::effective(None, &selection());
        let mut case = Case::new(&objects, &effective, given);
        case.explain(&target.parse().expect("a target"), &watched(leases, &[], 3)).remedy
    };
    let ours = "announcer-system";
    for (kubeconfig, namespace, target, remedy) in [
        (
            None,
            ours,
            "default/web",
            "kubectl -n announcer-system get daemonsets,pods -l app.kubernetes.io/name=announcer -o wide",
        ),
        (
            Some("/home/x/it's here"),
            "lab",
            "default/web",
            "kubectl -n lab get daemonsets,pods -l app.kubernetes.io/name=announcer -o wide --kubeconfig \"/home/x/it's here\"",
        ),
        (None, ours, "other/web", "announcer explain default/web"),
        (
            Some("k"),
            "lab",
            "other/web",
            "announcer explain default/web --namespace lab --kubeconfig k",
        ),
    ] {
        assert_eq!(typed(kubeconfig, namespace, target, &[]).as_deref(), Some(remedy));
    }
    // Each of several commands.
    let other = json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"type": "LoadBalancer", "loadBalancerClass": "x"}});
    let objects = vec![Object::Service(serde_json::from_value(other).expect("a Service"))];
    let objects = Objects { objects, ..Objects::default() };
    let effective = facts::effective(None, &selection());
    let given = Given { namespace: ours, kubeconfig: Some("k".as_ref()) };
    let said = Case::new(&objects, &effective, given)
        .explain(&"default/web".parse().expect("one"), &watched(&[], &[], 0));
    let remedy = said.remedy.expect("what to type");
    let parts: Vec<&str> = remedy.split(" && ").collect();
    assert!(
        parts.len() == 2 && parts.iter().all(|part| part.ends_with(" --kubeconfig k")),
        "{remedy}"
    );
}

#[test]
fn what_a_node_says_of_its_links_counts() {
    for (one, two, finding) in [
        ("up", "no-carrier", None),
        ("no-carrier", "up", Some(Finding::LinkTrouble)),
        ("missing", "down", Some(Finding::LinkTrouble)),
    ] {
        let leases = [
            node_lease("n1", 7, 3, true, one),
            node_lease("n2", 8, 3, true, two),
            held("n1", "8d6f/3"),
        ];
        let said = web(&watched(&leases, &["n1", "n2"], 0));
        assert_eq!(said.finding, finding, "{one} {two}: {said:#?}");
    }
}

#[test]
fn the_first_broken_link_is_the_one_to_mend() {
    let objects = vec![service("web", json!({"announce": "yes"})), node("n1", "False")];
    let said = explain(objects, &watched(&[], &[], 0), "default/web");
    assert_eq!(said.finding, Some(Finding::LabelsDiffer), "{said:#?}");
    let objects = vec![service("web", json!({"announce": "true"})), node("n1", "False")];
    let said = explain(objects, &watched(&[], &[], 0), "default/web");
    assert_eq!(said.finding, Some(Finding::NodeNotReady), "{said:#?}");
    let broken = said.chain.iter().filter(|link| link.verdict == Verdict::Problem);
    assert_eq!(broken.count(), 2, "the others are told, too: {said:#?}");
}

#[test]
fn a_holder_keeps_what_no_node_may_have() {
    let objects = vec![service("web", json!({"announce": "true"})), node("n1", "False")];
    let leases = [node_lease("n1", 7, 3, true, "up"), held("n1", "8d6f/3")];
    let said = explain(objects, &watched(&leases, &["n1"], 0), "default/web");
    assert_eq!((said.announced, said.finding), (Some(true), Some(Finding::NodeNotReady)));
    let remedy = said.remedy.expect("what to type");
    assert!(said.conclusion.contains("by node n1") && said.conclusion.ends_with(&remedy));
}

#[test]
fn an_address_is_announced_if_it_is_for_one_service() {
    let objects = || {
        vec![
            service("other", json!({})),
            service("web", json!({"announce": "true"})),
            node("n1", "True"),
        ]
    };
    let leases = [node_lease("n1", 7, 3, true, "up"), held("n1", "8d6f/3")];
    let watched = watched(&leases, &["n1"], 0);
    let said = explain(objects(), &watched, "192.0.2.10");
    assert_eq!(said.announced, Some(true), "{said:#?}");
    assert!(said.chain.iter().any(|link| link.finding == Some(Finding::LabelsDiffer)));
    assert_eq!(explain(objects(), &watched, "default/other").announced, Some(false));
}

#[test]
fn most_of_the_living_say_which_settings_count() {
    let with = |lease: Value, selector: &str, version: &str| {
        let settings = json!({
            "version": version, "serviceSelector": selector, "loadBalancerClass": "c",
            "requireClass": false, "externalIPs": false, "excludeCordoned": false,
        });
        let mut lease = lease;
        lease["metadata"]["annotations"]["l2announcer.io/settings"] = json!(settings.to_string());
        lease
    };
    let lease = |name, open| node_lease(name, 7, 3, open, "up");
    let leases = [
        with(lease("n1", true), "a=1", "1"),
        with(lease("n2", true), "a=1", "1"),
        with(lease("n3", true), "a=1", "2"),
        with(lease("n4", true), "a=2", "1"),
        with(lease("n5", false), "a=3", "1"),
        with(lease("n6", false), "a=3", "1"),
        with(lease("n7", false), "a=3", "1"),
    ];
    let all = facts::effective(watched(&leases, &[], 0).records.as_ref(), &selection());
    assert_eq!(all.selection.services.to_string(), "a=1");
    assert_eq!(all.others.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["n4"]);
    let dead = facts::effective(watched(&leases[4..], &[], 0).records.as_ref(), &selection());
    assert_eq!(dead.selection.services.to_string(), "a=3");
    let none = facts::effective(watched(&[], &[], 0).records.as_ref(), &selection());
    assert_eq!(
        (none.selection.services.to_string(), none.said),
        ("announce=true".to_owned(), None)
    );
}

#[test]
fn targets_are_services_and_addresses() {
    for (text, ok) in [
        ("default/web", true),
        ("192.0.2.10", true),
        ("2001:db8::1", true),
        ("web", false),
        ("a/b/c", false),
        ("/web", false),
        ("default/", false),
        ("default/web;rm", false),
    ] {
        let target = text.parse::<Target>();
        assert_eq!(target.map(|target| target.to_string()).ok(), ok.then(|| text.to_owned()));
    }
}
