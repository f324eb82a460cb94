//! Every claim and session survives the way through a Lease object.

use super::*;

fn store() -> Store {
    let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("valid timing");
    let config = kube::Config::new("http://192.0.2.1".parse().expect("a URI"));
    let client = Client::try_from(config).expect("a client");
    let me = "node-1".parse().expect("a node name");
    let macs = BTreeSet::from(["02:00:00:00:00:01".parse().expect("a MAC")]);
    Store::new(client, "announcer-system", timing, me, watch::channel(macs).1, Arc::default())
}

/// The object as the API server would give it back.
fn stored(store: &Store, request: &Request, version: u64) -> Lease {
    let mut lease = store.object(request);
    lease.metadata.uid = Some("8d6f".to_owned());
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

#[tokio::test]
async fn claims_round_trip() {
    let store = store();
    let vip: Vip = "192.0.2.10".parse().expect("a VIP");
    let node: NodeName = "node-1".parse().expect("a node name");
    for claim in [
        Claim::Held { node: node.clone(), session: Session::new("8d6f", 7) },
        Claim::Released { offered_by: Some(node.clone()), offered_to: None },
        Claim::Released { offered_by: Some(node), offered_to: "node-2".parse().ok() },
        Claim::RELEASED,
    ] {
        let request = Request::WriteVip { vip, expect: None, claim: claim.clone() };
        let known = understand(&stored(&store, &request, 5));
        assert_eq!(
            known,
            Ok(Known::Vip(vip, VipLease { version: Version(5), uid: "8d6f".to_owned(), claim }))
        );
    }
}

#[tokio::test]
async fn a_claim_edited_by_hand_is_unclear() {
    let store = store();
    let vip: Vip = "192.0.2.10".parse().expect("a VIP");
    let node = "node-1".parse().expect("a node name");
    let claim = Claim::Held { node, session: Session::new("8d6f", 7) };
    let request = Request::WriteVip { vip, expect: None, claim };
    let mut cleared = stored(&store, &request, 5);
    cleared.spec.as_mut().expect("a spec").holder_identity = None;
    assert!(matches!(understand(&cleared), Ok(Known::Vip(_, l)) if l.claim == Claim::Unclear));
    let mut unsigned = stored(&store, &request, 5);
    unsigned.metadata.annotations = None;
    assert!(matches!(understand(&unsigned), Ok(Known::Vip(_, l)) if l.claim == Claim::Unclear));
}

#[tokio::test]
async fn sessions_round_trip() {
    let store = store();
    let node: NodeName = "node-1".parse().expect("a node name");
    for open in [true, false] {
        let request = Request::WriteNode {
            node: node.clone(),
            expect: Some(Expect { uid: "8d6f".to_owned(), version: Version(4) }),
            transitions: 3,
            open,
        };
        let lease = NodeLease { version: Version(9), session: Session::new("8d6f", 3), open };
        let macs = vec!["02:00:00:00:00:01".parse().expect("a MAC")];
        assert_eq!(
            understand(&stored(&store, &request, 9)),
            Ok(Known::Node(node.clone(), lease, macs))
        );
    }
}

#[test]
fn names_say_their_subject() {
    let vip = "192.0.2.10".parse().expect("a VIP");
    assert_eq!(subject(&vip_lease_name(vip)), Some(Subject::Vip(vip)));
    let node: NodeName = "node-1.rack".parse().expect("a node name");
    assert_eq!(subject(&node_lease_name(&node)), Some(Subject::Node(node)));
    for stranger in ["kube-scheduler", "announcer-vip-web", "announcer-node--"] {
        assert_eq!(subject(stranger), None, "{stranger}");
    }
}
