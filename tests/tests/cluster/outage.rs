//! The API server is away, and comes back.

use std::time::{Duration, Instant};

use announcer_apiserver::{Audited, LEASES, Match, Verb};
use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON, Timing},
    probe::ProbeHandle,
    recording::Recording,
};

use crate::{Mode, held_by_node_1, leases, millis};

/// Time that passes with the API server away.
pub(crate) struct Away<'a> {
    mode: Mode,
    timing: Timing,
    length: Duration,
    probe: &'a ProbeHandle,
}

impl Away<'_> {
    /// Lets it pass; the server has just gone.
    pub(crate) fn pass(&self) {
        let in_force = Instant::now();
        if self.mode == Mode::Withdraw {
            let dark = self.probe.wait_until_dark(Duration::from_millis(100), SOON);
            let last = dark.unwrap().unwrap();
            let went_on = last.sent.saturating_duration_since(in_force);
            println!("answered without the API server: {:.0} ms", millis(went_on));
            assert!(went_on <= self.timing.validity(), "{went_on:?}");
        }
        let rest = (in_force + self.length).saturating_duration_since(Instant::now());
        let rest = usize::try_from(rest.as_millis()).unwrap();
        self.probe.wait_requests(rest).unwrap();
    }
}

/// Nothing moves and nothing is rewritten when the API server is away for `length`:
/// `torment` takes it away, lets the time pass, and brings it back. With `hold` every
/// request is answered meanwhile, with `withdraw` none is from the end of the validity on.
pub(crate) fn outage(
    mode: Mode,
    timing: Timing,
    length: Duration,
    torment: impl FnOnce(&mut Cluster, &Away<'_>),
) {
    let mut cluster = mode.cluster(3, timing);
    let probe = held_by_node_1(&mut cluster);
    cluster.wait_renewals(1).unwrap();
    let before = leases(&cluster);

    let began = Instant::now();
    torment(&mut cluster, &Away { mode, timing, length, probe: &probe });
    let ended = Instant::now();

    let holder = cluster.lab().node(1).mac;
    let back = probe.wait_answer_by(holder, SOON).unwrap();
    println!("answers again: {:.0} ms", millis(back.at.saturating_duration_since(ended)));
    // Long enough for everybody to take what seems to be free.
    cluster.wait_lease_duration().unwrap();
    cluster.wait_lease_duration().unwrap();
    assert_eq!(leases(&cluster), before, "nothing moved");
    let rewritten = writes_but_renewals(&cluster, began);
    assert!(rewritten.is_empty(), "{rewritten:#?}");
    check_wire(mode, &cluster, probe);
}

fn check_wire(mode: Mode, cluster: &Cluster, probe: ProbeHandle) {
    let recording: Recording = probe.stop().unwrap();
    let holder = cluster.lab().node(1).mac;
    assert_eq!(recording.answerers().into_keys().collect::<Vec<_>>(), [holder]);
    assert_eq!(recording.duplicated(), 0);
    let gaps = recording.gaps();
    match mode {
        Mode::Hold => assert!(gaps.is_empty(), "{gaps:?}"),
        Mode::Withdraw => assert_eq!(gaps.len(), 1, "{gaps:?}"),
    }
}

/// What was written since `from`, but for each announcer's renewals of its own lease.
fn writes_but_renewals(cluster: &Cluster, from: Instant) -> Vec<Audited> {
    let mut writes = cluster.audit().recent(&Match::any().writes());
    writes.retain(|entry| {
        let request = &entry.request;
        let renewal = request.verb == Verb::Update
            && request.resource == Some(LEASES)
            && request.name == NodeLease::name(&request.client);
        entry.at >= from && entry.wrote.is_some() && !renewal
    });
    writes
}
