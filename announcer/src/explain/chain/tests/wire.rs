//! What a holder says of its interfaces, their networks, and strangers.

use super::*;

/// n1 holds the VIP, renews, and says this.
fn says(interfaces: &Value, conflicts: Option<&Value>) -> Watched {
    let mut lease = node_lease("n1", 7, 3, true, "up");
    let annotations = &mut lease["metadata"]["annotations"];
    annotations["l2announcer.io/interfaces"] = json!(interfaces.to_string());
    if let Some(conflicts) = conflicts {
        annotations["l2announcer.io/conflicts"] = json!(conflicts.to_string());
    }
    watched(&[lease, held("n1", "8d6f/3")], &["n1"], 0)
}

fn attached(networks: Option<&[&str]>) -> Value {
    let mut interface = json!({"link": "up", "hook": "tcx", "mac": "02:00:00:00:00:01"});
    if let Some(networks) = networks {
        interface["networks"] = json!(networks);
    }
    interface
}

fn policy(interfaces: &[&str]) -> Object {
    let object = json!({
        "apiVersion": "l2announcer.io/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": {"name": "lan"},
        "spec": {"loadBalancerIPs": true, "interfaces": interfaces},
    });
    Object::Policy(serde_json::from_value(object).expect("a policy"))
}

#[test]
fn a_vip_in_no_network_of_its_holder_is_in_doubt() {
    let here = attached(Some(&["192.0.2.0/24", "2001:db8::/64"]));
    let there = attached(Some(&["198.51.100.0/24"]));
    for (what, interfaces, doubted) in [
        ("unknown", json!({"ens18": attached(None)}), false),
        ("on link", json!({"ens18": here}), false),
        ("off link", json!({"ens18": there}), true),
        ("no networks", json!({"ens18": attached(Some(&[]))}), true),
        ("on one of two", json!({"ens18": there, "ens19": here}), false),
        ("on neither", json!({"ens18": there, "ens19": attached(Some(&[]))}), true),
        ("one unknown", json!({"ens18": there, "ens19": attached(None)}), false),
        ("one without the program", json!({"ens18": there, "ens19": {"link": "unattached"}}), true),
    ] {
        let said = web(&says(&interfaces, None));
        assert_eq!(said.announced, Some(true), "{what}: a doubt only");
        assert_eq!(said.finding, doubted.then_some(Finding::OffLink), "{what}: {said:#?}");
        if doubted {
            for part in ["192.0.2.10 lies in none of the networks", "ens18", "n1", "but"] {
                assert!(said.conclusion.contains(part), "{what}: {}", said.conclusion);
            }
            let remedy = "kubectl -n default describe service web";
            assert_eq!(said.remedy.as_deref(), Some(remedy));
        }
    }
    let said = web(&says(&json!({"ens18": there}), None));
    assert!(said.conclusion.contains("198.51.100.0/24"), "{}", said.conclusion);
}

#[test]
fn only_interfaces_that_the_policy_means_count() {
    let here = attached(Some(&["192.0.2.0/24"]));
    let interfaces = json!({"ens18": attached(Some(&["198.51.100.0/24"])), "ens19": here});
    let objects =
        |meant: &[&str]| vec![service("web", json!({})), node("n1", "True"), policy(meant)];
    let on = |meant: &[&str]| explain(objects(meant), &says(&interfaces, None), "default/web");
    assert_eq!(on(&[]).finding, None);
    assert_eq!(on(&["^ens19$"]).finding, None);
    let said = on(&["^ens18$"]);
    assert_eq!(said.finding, Some(Finding::OffLink), "{said:#?}");
    let remedy = "kubectl edit l2announcementpolicies.l2announcer.io lan";
    assert_eq!(said.remedy.as_deref(), Some(remedy), "where interfaces are chosen");
}

#[test]
fn a_stranger_is_a_doubt_where_it_is_defended_against_and_else_the_problem() {
    let interfaces = json!({"ens18": attached(Some(&["192.0.2.0/24"]))});
    for (vip, answered, announced, finding) in [
        ("192.0.2.11", true, true, None),
        ("192.0.2.10", true, true, Some(Finding::AddressConflict)),
        ("192.0.2.10", false, false, Some(Finding::AddressConflict)),
    ] {
        let conflict =
            json!({"mac": "52:54:00:00:00:07", "interface": "ens18", "answered": answered});
        let said = web(&says(&interfaces, Some(&json!({vip: conflict}))));
        assert_eq!((said.announced, said.finding), (Some(announced), finding), "{said:#?}");
        assert_eq!(said.announcers.len(), usize::from(announced));
        if finding.is_some() {
            for part in ["52:54:00:00:00:07", "QEMU/KVM", "ens18", "n1", "give it another address"]
            {
                assert!(said.conclusion.contains(part), "{part}: {}", said.conclusion);
            }
            assert_eq!(said.conclusion.contains("silent"), !answered, "{}", said.conclusion);
            assert!(said.remedy.expect("what to type").starts_with("announcer probe 192.0.2.10"));
        }
    }
}

#[test]
fn of_several_doubts_the_one_nearest_to_clients_is_told_first() {
    let interfaces = json!({"ens18": attached(Some(&["198.51.100.0/24"]))});
    let conflict = json!({"192.0.2.10":
        {"mac": "52:54:00:00:00:07", "interface": "ens18", "answered": true}});
    let said = web(&says(&interfaces, Some(&conflict)));
    assert_eq!(said.finding, Some(Finding::AddressConflict), "{said:#?}");
    assert!(said.chain.iter().any(|link| link.finding == Some(Finding::OffLink)), "{said:#?}");
}
