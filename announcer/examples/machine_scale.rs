//! What one turn of the ownership loop costs at 5,000 VIPs, piece by piece.
//!
//!     cargo run --release -p announcer --example machine_scale
//!
//! One node holds them all, or none of them.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::{
    collections::BTreeSet,
    hint::black_box,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use announcer::{
    datapath::plan::MapImage,
    intent::desired::{Candidacy, Intent, VipIntent},
    ownership::{
        heartbeat::OnApiLoss,
        lease::{Answer, Claim, NodeLease, Reply, Request, Seen, Version, VipLease},
        machine::{Input, Machine, Settings},
        timing::Timing,
    },
    types::{BootTime, NodeName, Session, Vip},
    wire_state::WireEntry,
};
use anyhow::Result;

const VIPS: u32 = 5_000;
const ROUNDS: u32 = 200;
const UID: &str = "5ddc3ba4-06a6-4b54-8f1b-5a8c9c1c2d3e";

fn main() -> Result<()> {
    for (what, held) in [("all held here", true), ("none held here", false)] {
        println!("{VIPS} VIPs, {what}");
        measure(held)?;
    }
    Ok(())
}

fn measure(held: bool) -> Result<()> {
    let (me, other): (NodeName, NodeName) = ("node-1".parse()?, "node-2".parse()?);
    let mut now = BootTime::from_nanos(1_000_000_000_000);
    let mut machine = Machine::new(settings(me.clone())?, None);
    let vips: Vec<Vip> = (0..VIPS).map(vip).collect::<Result<_>>()?;
    let mut store = Store { version: 0, session: Session::new(UID, 0) };
    let eligible = Arc::new(BTreeSet::from([me, other.clone()]));
    let wanted = vips.iter().map(|vip| (*vip, VipIntent::on(Arc::clone(&eligible))));
    let intent = Intent { vips: wanted.collect(), candidacy: Candidacy::Candidate };
    if !held {
        let session = Session::new(UID.replace('5', "6"), 1);
        let lease = NodeLease { version: store.next(), session: session.clone(), open: true };
        machine.input(now, Input::NodeLease(other.clone(), Seen::Present(lease)));
        for vip in &vips {
            let lease = store.held(*vip, other.clone(), session.clone());
            machine.input(now, Input::VipLease(*vip, Seen::Present(lease)));
        }
    }
    machine.input(now, Input::Intent(Arc::new(intent)));
    machine.input(now, Input::NodesListed);
    machine.input(now, Input::VipsListed);
    // Long enough for a session to be opened, and for VIPs to be taken.
    for _ in 0..10 {
        now = now + Duration::from_millis(500);
        for request in machine.poll(now) {
            let answer = store.answer(&request);
            machine.input(now, Input::Answered(request, answer));
        }
    }
    println!("  {} are held", machine.held().count());

    each("poll, nothing to do", || machine.poll(now));
    each("next_deadline", || machine.next_deadline(now));
    each("wire", || machine.wire(now));
    let (a, b) = (machine.wire(now), machine.wire(now));
    each("wire == wire", || black_box(&a) == black_box(&b));
    let rival = *vips.get(vips.len() / 2).unwrap_or(&vip(0)?);
    each("a claim of another announcer: input, poll, deadline", || {
        machine.input(now, Input::Rival { vip: rival, takes_over: true });
        (machine.poll(now), machine.next_deadline(now))
    });
    let mut image = MapImage::default();
    let mut operations = 0;
    let mut later = now;
    each("plan of a renewal, and noting it", || {
        later = later + Duration::from_millis(1);
        let mut state = machine.wire(now).unwrap_or_default();
        for entry in state.vips.values_mut() {
            if let WireEntry::Answer { until } = entry {
                *until = later;
            }
        }
        let plan = image.plan(&state, 8192);
        operations = plan.ops.len();
        plan.ops.iter().for_each(|op| image.apply(op));
    });
    println!("  (the last includes one `wire`, and its plan has {operations} map writes)");
    Ok(())
}

fn each<T>(what: &str, mut work: impl FnMut() -> T) {
    work();
    let began = Instant::now();
    (0..ROUNDS).for_each(|_| drop(black_box(work())));
    println!("  {:>9.1} us  {what}", began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn settings(me: NodeName) -> Result<Settings> {
    let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(1))?;
    let handover_timeout = Duration::from_secs(5);
    Ok(Settings {
        me,
        timing,
        on_api_loss: OnApiLoss::Hold,
        handover_timeout,
        rebalance: None,
        probing: false,
    })
}

fn vip(n: u32) -> Result<Vip> {
    let base = Ipv4Addr::new(10, 64, 0, 1).to_bits();
    Ok(Vip::new(Ipv4Addr::from_bits(base + n / 250 * 256 + n % 250).into())?)
}

/// Says yes to everything.
struct Store {
    version: u64,
    session: Session,
}

impl Store {
    fn next(&mut self) -> Version {
        self.version += 1;
        Version(self.version)
    }

    fn held(&mut self, vip: Vip, node: NodeName, session: Session) -> VipLease {
        let claim = Claim::Held { node, session };
        VipLease { version: self.next(), uid: format!("{UID}-{vip}"), claim }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let version = self.next();
        match request {
            Request::ReadNode(_) => Answer::Node(Reply::NotFound),
            Request::WriteNode { transitions, open, .. } => {
                self.session = Session::new(UID, *transitions);
                let session = self.session.clone();
                Answer::Node(Reply::Ok(NodeLease { version, session, open: *open }))
            }
            Request::ReadVip(_) => Answer::Vip(Reply::NotFound),
            Request::WriteVip { vip, claim, .. } => {
                let uid = format!("{UID}-{vip}");
                Answer::Vip(Reply::Ok(VipLease { version, uid, claim: claim.clone() }))
            }
        }
    }
}
