use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::ownership::machine::Wait;

const NOW: &str = "2026-01-02T03:04:05Z";
const BEFORE: &str = "2026-01-01T00:00:00Z";
const HERE: &str = "192.0.2.10 by node-1 (02:00:00:00:00:01 on ens18)";

fn vip(last: u8) -> Vip {
    format!("192.0.2.{last}").parse().expect("a VIP")
}

fn node(n: u8) -> NodeName {
    format!("node-{n}").parse().expect("a node name")
}

fn service() -> ServiceRef {
    ServiceRef { namespace: "default".into(), name: "web".into(), uid: "uid".into() }
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "web")
}

/// Node 1's world: VIPs of one Service by their last octet, each with its state and holder.
struct World {
    vips: BTreeMap<Vip, VipReport>,
    intent: Intent,
    seen: Seen,
    mine: BTreeSet<ServiceRef>,
}

impl World {
    fn new(vips: impl IntoIterator<Item = (u8, VipState, Option<u8>)>) -> Self {
        let services: Arc<[ServiceRef]> = [service()].into();
        let report = |(last, state, holder): (u8, VipState, Option<u8>)| {
            let services = services.clone();
            let holder = holder.map(node);
            (vip(last), VipReport { state, holder, since: None, services, conflict: None })
        };
        let vips: BTreeMap<_, _> = vips.into_iter().map(report).collect();
        let mut world =
            Self { vips, intent: Intent::default(), seen: Seen::default(), mine: BTreeSet::new() };
        world.eligible(&[1, 2]);
        world
    }

    fn eligible(&mut self, nodes: &[u8]) {
        let nodes: Arc<BTreeSet<_>> = Arc::new(nodes.iter().copied().map(node).collect());
        let wanted = |vip: &Vip| (*vip, crate::intent::desired::VipIntent::on(nodes.clone()));
        self.intent.vips = self.vips.keys().map(wanted).collect();
    }

    /// The Service has another's condition, and ours if any.
    fn says(&mut self, ours: Option<(&str, &str, &str)>) {
        let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": BEFORE,
            })
        };
        let ours = ours.map(|(status, reason, message)| (L2_ANNOUNCED, status, reason, message));
        let others = Some(("Ready", "True", "Asked", "yes"));
        let conditions: Vec<Value> = others.into_iter().chain(ours).map(condition).collect();
        let service = json!({ "metadata": {}, "status": { "conditions": conditions } });
        let service = serde_json::from_value(service).expect("a Service");
        self.seen.apply(key(), &service);
    }

    /// Status, message and time of what is written; `None` in it: the condition goes.
    fn due(&mut self) -> Option<Option<[String; 4]>> {
        let mac = "02:00:00:00:00:01".parse().ok();
        let attached = |link, mac| InterfaceProfile::attached(link, "tcx", mac);
        let interfaces = BTreeMap::from([
            ("ens18".to_owned(), attached(LinkState::Fit, mac)),
            ("ens19".to_owned(), attached(LinkState::NoCarrier, mac)),
        ]);
        let scene = Scene {
            me: &node(1),
            interfaces: Some(&interfaces),
            intent: &self.intent,
            vips: &self.vips,
            seen: &self.seen,
        };
        let mut due = scene.due(NOW.parse().expect("a time"), &mut self.mine);
        let patch = due.pop()?;
        assert_eq!((due.len(), &patch.service), (0, &service()));
        Some(patch.condition.map(|condition| {
            assert_eq!(condition.type_, L2_ANNOUNCED);
            let at = condition.last_transition_time.0.to_string();
            [condition.status, condition.reason, condition.message, at]
        }))
    }
}

fn written(status: &str, reason: &str, message: &str, at: &str) -> Option<Option<[String; 4]>> {
    Some(Some([status, reason, message, at].map(str::to_owned)))
}

fn announced(message: &str) -> Option<Option<[String; 4]>> {
    written("True", "Announced", message, NOW)
}

const WAITING: VipState = VipState::Waiting(Wait::AnyEligibleNode);

#[test]
fn who_holds_the_first_vip_writes_who_holds_each() {
    let held = |last| (last, VipState::Held, Some(1));
    let others = |last| (last, VipState::Silent, Some(2));
    let free = |last| (last, VipState::Waiting(Wait::Answer), None);
    let probing = (11, VipState::Probing { until: crate::types::BootTime::ZERO }, Some(1));
    let offered = (10, VipState::Offered { to: None, until: None }, Some(1));
    let all = format!("{HERE}, 192.0.2.11 by node-2, 192.0.2.12 by no node");
    let second = "192.0.2.10 by no node, 192.0.2.11 by node-1 (02:00:00:00:00:01 on ens18)";
    for (vips, expected) in [
        (vec![held(10)], announced(HERE)),
        (vec![held(10), others(11), free(12)], announced(&all)),
        (vec![free(10), held(11)], announced(second)),
        // Another node's to write.
        (vec![others(10), held(11)], None),
        (vec![others(10)], None),
        // Under way.
        (vec![free(10)], None),
        (vec![held(10), probing], None),
        (vec![offered], None),
    ] {
        assert_eq!(World::new(vips.clone()).due(), expected, "{vips:?}");
    }
}

#[test]
fn what_is_said_already_is_not_written() {
    let gone = "no node may hold 192.0.2.10. node-1: not ready";
    for (said, expected) in [
        (None, announced(HERE)),
        (Some(("True", "Announced", HERE)), None),
        // The time stays while the status does.
        (
            Some(("True", "Announced", "192.0.2.10 by node-2")),
            written("True", "Announced", HERE, BEFORE),
        ),
        (Some(("True", "Other", HERE)), written("True", "Announced", HERE, BEFORE)),
        (Some(("False", "NoEligibleNode", gone)), announced(HERE)),
    ] {
        let mut world = World::new([(10, VipState::Held, Some(1))]);
        world.says(said);
        assert_eq!(world.due(), expected, "{said:?}");
    }
}

#[test]
fn that_no_node_may_hold_any_is_said_by_who_tells_of_it() {
    let why = "node-1: the node is not ready";
    let both = format!("no node may hold 192.0.2.10, 192.0.2.11. {why}");
    let mut world = World::new([(10, WAITING, None), (11, WAITING, None)]);
    let orphans = BTreeMap::from([(vip(10), why.to_owned())]);
    world.says(Some(("True", "Announced", HERE)));
    world.seen.set_orphans(&orphans);
    assert_eq!(world.due(), None, "some node may");
    world.eligible(&[]);
    assert_eq!(world.due(), written("False", "NoEligibleNode", &both, NOW));
    world.says(Some(("False", "NoEligibleNode", "no node may hold it. node-2: something else")));
    assert_eq!(world.due(), None, "another node was first");
    world.says(None);
    if let Some(given_up) = world.vips.get_mut(&vip(10)) {
        given_up.holder = Some(node(1));
    }
    assert_eq!(world.due(), written("False", "NoEligibleNode", &both, NOW));
    world.seen.set_orphans(&BTreeMap::new());
    assert_eq!(world.due(), None, "others tell of it");
    // One that is held still, whatever may be.
    world.seen.set_orphans(&orphans);
    for report in world.vips.values_mut().skip(1) {
        (report.state, report.holder) = (VipState::Silent, Some(node(2)));
    }
    assert_eq!(world.due(), None);
}

#[test]
fn of_a_service_that_asks_for_nothing_any_more_the_condition_goes() {
    let mut world = World::new([(10, VipState::Held, Some(1))]);
    assert!(world.due().is_some());
    world.says(Some(("True", "Announced", HERE)));
    assert_eq!(world.due(), None);
    let vips = std::mem::take(&mut world.vips);
    assert_eq!(world.due(), Some(None));
    assert_eq!(world.due(), Some(None), "until it is gone");
    world.says(None);
    assert_eq!(world.due(), None);
    // Another node's, by now.
    world.vips = vips;
    assert!(world.due().is_some());
    world.says(Some(("True", "Announced", "192.0.2.10 by node-2")));
    for report in world.vips.values_mut() {
        (report.state, report.holder) = (VipState::Silent, Some(node(2)));
    }
    assert_eq!(world.due(), None);
    world.vips.clear();
    assert_eq!(world.due(), None);
}

#[test]
fn a_message_names_no_more_than_fit() {
    let mut world = World::new((1..=40).map(|last| (last, VipState::Held, Some(1))));
    let [_, _, message, _] = world.due().flatten().expect("something to write");
    assert!(message.ends_with("192.0.2.32 by node-1 (02:00:00:00:00:01 on ens18) and 8 more"));
}

#[test]
fn services_are_taken_in_and_forgotten() {
    let mut world = World::new([]);
    world.says(Some(("True", "Announced", HERE)));
    let said = world.seen.condition(&service()).map(|condition| condition.message.clone());
    assert_eq!(said.as_deref(), Some(HERE), "not another's condition");
    assert!(!world.seen.retain(&BTreeSet::from([key()])));
    assert!(world.seen.retain(&BTreeSet::new()));
    assert_eq!(world.seen.condition(&service()), None);
    assert!(!world.seen.delete(&key()));
}
