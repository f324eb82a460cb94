//! Every claim and session survives the way through a Lease object.

use super::{
    super::profile::{ConflictProfile, InterfaceProfile, Settings},
    *,
};
use crate::intent::eligibility::LinkState;

fn store() -> Store {
    let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("valid timing");
    let config = kube::Config::new("http://192.0.2.1".parse().expect("a URI"));
    let client = Client::try_from(config).expect("a client");
    let me = "node-1".parse().expect("a node name");
    let macs = BTreeSet::from(["02:00:00:00:00:01".parse().expect("a MAC")]);
    let (macs, profile) = (watch::channel(macs).1, watch::channel(profile()).1);
    Store::new(client, "announcer-system", timing, me, macs, profile, Arc::default())
}

fn conflicts() -> Conflicts {
    let mac = "52:54:00:00:00:07".parse().expect("a MAC");
    let vip = "192.0.2.10".parse().expect("a VIP");
    [(vip, ConflictProfile { mac, interface: "ens18".to_owned(), answered: false })].into()
}

fn profile() -> Profile {
    let settings = Settings {
        version: "1.2.3".to_owned(),
        service_selector: "announce in (true,yes)".to_owned(),
        load_balancer_class: "l2announcer.io/l2".to_owned(),
        require_class: true,
        external_ips: false,
        exclude_cordoned: true,
    };
    let mac = "02:00:00:00:00:01".parse().ok();
    let networks = ["192.0.2.0/24", "2001:db8::/64"].map(|text| text.parse().expect("one"));
    let attached = InterfaceProfile::attached(LinkState::NoCarrier, "tcx", mac);
    let interfaces = [
        ("ens18", attached.with_networks(networks)),
        ("ens19", InterfaceProfile::without_program(LinkState::Missing)),
    ];
    let interfaces = interfaces.map(|(name, interface)| (name.to_owned(), interface));
    let interfaces = Some(interfaces.into());
    Profile { settings: Some(settings), interfaces, ..Profile::default() }
}

#[tokio::test]
async fn what_a_node_says_of_itself_round_trips() {
    let mut store = store();
    store.set_conflicts(conflicts());
    let node: NodeName = "node-1".parse().expect("a node name");
    let write = |node: &NodeName, expect| Request::WriteNode {
        node: node.clone(),
        expect,
        transitions: 3,
        open: true,
    };
    let lease = stored(&store, &write(&node, None), 9);
    let mut records = Records::default();
    records.insert(&lease);
    let record = &records.nodes[&node];
    assert_eq!(record.profile, Profile { conflicts: conflicts(), ..profile() });
    assert_eq!(record.duration, Duration::from_secs(3));
    let settings = record.profile.settings.as_ref().expect("they were written");
    let selection = settings.selection().expect("the selector is one");
    assert_eq!(
        Settings { version: settings.version.clone(), ..Settings::of(&selection) },
        *settings
    );

    // Of another node it says nothing: that is the other's to say.
    let other: NodeName = "node-2".parse().expect("a node name");
    let expect = Expect { uid: "8d6f".to_owned(), version: Version(8) };
    let fence = stored(&store, &write(&other, Some(expect)), 9);
    records.insert(&fence);
    assert_eq!(records.nodes[&other].profile, Profile::default());

    // What cannot be read is unknown, and the session is not.
    let mut garbled = lease;
    add(&mut garbled.metadata.annotations, SETTINGS_ANNOTATION, "{".to_owned());
    records.insert(&garbled);
    assert_eq!(records.nodes[&node].profile.settings, None);
    assert!(records.nodes[&node].lease.open);

    // What is over is not said any more.
    store.set_conflicts(Conflicts::new());
    records.insert(&stored(&store, &write(&node, None), 10));
    assert_eq!(records.nodes[&node].profile, profile());
}

#[test]
fn what_no_announcer_says_is_not_believed() {
    let networks = |n: u8| -> Vec<_> { (0..n).map(|n| format!("192.0.{n}.0/24")).collect() };
    let interface = |networks: serde_json::Value| {
        serde_json::json!({ "ens18": { "link": "up", "networks": networks } }).to_string()
    };
    let told = |text: &str| Profile::from_texts([None, Some(text), None]).interfaces;
    for (networks, believed) in [
        (serde_json::json!(networks(16)), true),
        (serde_json::json!([]), true),
        (serde_json::json!(networks(17)), false),
        (serde_json::json!(["192.0.2.0/33"]), false),
        (serde_json::json!(["$(reboot)"]), false),
    ] {
        assert_eq!(told(&interface(networks.clone())).is_some(), believed, "{networks}");
    }
    let attached = InterfaceProfile::attached(LinkState::Fit, "tcx", None);
    let many = networks(17).into_iter().map(|text| text.parse().expect("a network"));
    assert_eq!(attached.with_networks(many).networks, None, "a part would mislead");

    let conflict = |vip: &str, mac: &str, interface: &str| {
        let of = serde_json::json!({ "mac": mac, "interface": interface, "answered": true });
        serde_json::json!({ vip: of }).to_string()
    };
    let mac = "52:54:00:00:00:07";
    for (text, believed) in [
        (conflict("192.0.2.10", mac, "ens18"), true),
        (conflict("192.0.2.10", "somebody", "ens18"), false),
        (conflict("192.0.2.10", mac, "a b"), false),
        (conflict("127.0.0.1", mac, "ens18"), false),
    ] {
        let told = Profile::from_texts([None, None, Some(&text)]).conflicts;
        assert_eq!(!told.is_empty(), believed, "{text}");
    }
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
