//! What the machine makes of its parts; the rules as a whole are simulated.

use super::*;
use crate::types::Session;

#[test]
fn who_is_killed_before_comparing_leaves_to_the_next_what_was_left_to_him() {
    let vip: Vip = "192.0.2.10".parse().expect("a VIP");
    let me: NodeName = "node-1".parse().expect("a node name");
    let second = Duration::from_secs(1);
    let settings = Settings {
        me: me.clone(),
        timing: Timing::new(second * 3, second).expect("the default timing"),
        on_api_loss: OnApiLoss::Hold,
        handover_timeout: second * 5,
    };
    let now = BootTime::from_nanos(1_000_000_000_000);
    let session = Session::new("uid", 4);
    let answering = BTreeMap::from([(vip, now + second)]);
    let adopted = Adopted { session: Some(session.clone()), answering };
    let mut machine = Machine::new(settings, Some(adopted));
    let intent =
        Intent { vips: BTreeMap::from([(vip, VipIntent::on(Arc::new(BTreeSet::from([me]))))]) };
    machine.input(now, Input::Intent(Arc::new(intent)));
    machine.poll(now);
    let wire = machine.wire(now).expect("there is an intent");
    assert_eq!(wire.session, Some(session));
    assert_eq!(wire.vips[&vip], WireEntry::Answer { until: now + second });
}
