//! A path as a person reads it: what happened when, and what came of it.

use std::fmt::Write;

use announcer::ownership::lease::{Answer, Claim, Expect, NodeLease, Reply, Request, VipLease};
use stateright::Path;

use crate::{
    actions::{Action, Fault},
    node::{Flight, Node, Source, Stage, Target},
    scope::Scope,
    world::World,
};

/// Tells a path from its first fault on.
pub(crate) fn tell(scope: &Scope, path: Path<World, Action>) -> String {
    let steps = path.into_vec();
    let mut story = String::new();
    for (i, (world, action)) in steps.iter().enumerate() {
        match action {
            Some(Action::Calm) => calm(scope, world, &mut story),
            Some(action) => step(scope, world, *action, &steps[i + 1].0, &mut story),
            None => {
                let end = world.broken(scope).unwrap_or("all is well");
                line(scope, world, end, &mut story);
            }
        }
    }
    story
}

/// What happens within a tick of calm, up to what is broken.
fn calm(scope: &Scope, world: &World, story: &mut String) {
    let mut world = world.clone();
    if world.calm.is_none() {
        line(scope, &world, "faults are over", story);
        world.heal(scope);
    }
    for _ in 0..LONGEST_TICK {
        let Some(action) = world.due(scope).first().copied() else { return };
        let next = world.after(scope, action);
        step(scope, &world, action, &next, story);
        if next.broken(scope).is_some() {
            return;
        }
        world = next;
    }
}

/// So many lines of a tick that has no end.
const LONGEST_TICK: usize = 40;

fn step(scope: &Scope, world: &World, action: Action, next: &World, story: &mut String) {
    line(scope, world, &happened(scope, world, action, next), story);
    for (i, (before, after)) in world.nodes.iter().zip(&next.nodes).enumerate() {
        let before = state(scope, i, world, before);
        let after = state(scope, i, next, after);
        if before != after {
            let _ = writeln!(story, "          -> {} {after}", scope.names[i]);
        }
    }
}

fn line(scope: &Scope, world: &World, what: &str, story: &mut String) {
    let _ = writeln!(story, "{:>5} ms  {what}", millis(scope, world.tick));
}

fn millis(scope: &Scope, tick: u16) -> u128 {
    (scope.tick * u32::from(tick)).as_millis()
}

/// What the properties look at.
fn state(scope: &Scope, i: usize, world: &World, node: &Node) -> String {
    let now = scope.clock(i, world.tick);
    let session = match node.in_session() {
        Some(session) if node.valid(now) => format!("valid in {session}"),
        Some(session) => format!("not valid in {session}"),
        None => "in no session".to_owned(),
    };
    let holds = if node.holds_validly(now) { ", holds" } else { "" };
    let answers = match (node.answers(now), node.offering) {
        (true, true) => ", answers until another node does",
        (true, false) => ", answers",
        (false, _) => "",
    };
    format!("is {session}{holds}{answers}")
}

fn happened(scope: &Scope, world: &World, action: Action, next: &World) -> String {
    let name = |i: usize| &scope.names[i];
    match action {
        Action::Tick => {
            let late = world.due(scope).into_iter().map(|a| happened(scope, world, a, world));
            let late = late.collect::<Vec<_>>();
            if late.is_empty() { "...".to_owned() } else { format!("LATE: {}", late.join("; ")) }
        }
        Action::Calm => "calm for a tick".to_owned(),
        Action::Wake(i) => format!("{} wakes{}", name(i), sent(&world.nodes[i], &next.nodes[i])),
        Action::Apply(i, target) => {
            let outcome = match next.nodes[i].flights.get(&target).map(|f| &f.stage) {
                Some(Stage::Applied(answer)) => answered(answer),
                _ => String::new(),
            };
            format!("API server: {} {}{outcome}", name(i), flight(&world.nodes[i], target))
        }
        Action::Answer(i, target) => {
            let outcome = match world.nodes[i].flights.get(&target).map(|f| &f.stage) {
                Some(Stage::Applied(answer)) => answered(answer),
                _ => String::new(),
            };
            let sent = sent(&world.nodes[i], &next.nodes[i]);
            format!("{} is told: {}{outcome}{sent}", name(i), flight(&world.nodes[i], target))
        }
        Action::GiveUp(i, target) => {
            format!("{} gives up: {}", name(i), flight(&world.nodes[i], target))
        }
        Action::Connect(i, source) => {
            let sent = sent(&world.nodes[i], &next.nodes[i]);
            format!("{} lists {}{sent}", name(i), watched(scope, source))
        }
        Action::Watch(i, source) => {
            let news = world.nodes[i].streams.get(&source).and_then(|s| s.queue.front());
            let sent = sent(&world.nodes[i], &next.nodes[i]);
            format!("{} sees {}: {news:?}{sent}", name(i), watched(scope, source))
        }
        Action::Hear(i) => format!("{} hears another node announce", name(i)),
        Action::Ghost(k) => format!("API server, LATE: {}", request(&world.ghosts[k])),
        Action::Fault(fault) => match fault {
            Fault::Late => {
                let late = world.due(scope).first().map(|a| happened(scope, world, *a, world));
                format!("LATE: {}", late.unwrap_or_default())
            }
            Fault::Pause(i) => format!("STOPPED: {}", name(i)),
            Fault::Crash(i) => format!("KILLED: {}", name(i)),
            Fault::PowerOff(i) => format!("POWER LOST: {}", name(i)),
            Fault::Cut(i) => format!("CUT OFF: {}", name(i)),
            Fault::Outage => "OUTAGE of the API server".to_owned(),
            Fault::DeleteVip => "BY HAND: the VIP lease is deleted".to_owned(),
            Fault::ClearHolder => "BY HAND: the VIP lease's holder is cleared".to_owned(),
            Fault::DeleteNode(i) => format!("BY HAND: {}'s lease is deleted", name(i)),
            Fault::Drain(i) => format!("DRAINED: {}", name(i)),
        },
        Action::Resume(i) => format!("{} runs on", name(i)),
        Action::Mend(i) => format!("{} reaches the API server again", name(i)),
        Action::Restart(i) => format!("{} is started again", name(i)),
        Action::OutageEnds => "the API server is back".to_owned(),
    }
}

/// The requests that a step has sent.
fn sent(before: &Node, after: &Node) -> String {
    let new = |(target, flight): &(&Target, &Flight)| {
        before.flights.get(target).is_none_or(|old| old.request != flight.request)
    };
    let sent = after.flights.iter().filter(new).map(|(_, flight)| request(&flight.request));
    sent.map(|what| format!(", and {what}")).collect()
}

fn flight(node: &Node, target: Target) -> String {
    node.flights.get(&target).map(|f| request(&f.request)).unwrap_or_default()
}

fn request(request: &Request) -> String {
    match request {
        Request::ReadNode(node) => format!("reads {node}"),
        Request::ReadVip(vip) => format!("reads {vip}"),
        Request::WriteNode { node, expect, transitions, open } => {
            let open = if *open { "open" } else { "over" };
            format!("writes {node}: /{transitions} {open} {}", condition(expect.as_ref()))
        }
        Request::WriteVip { vip, expect, claim } => {
            format!("writes {vip}: {} {}", said(claim), condition(expect.as_ref()))
        }
    }
}

fn condition(expect: Option<&Expect>) -> String {
    expect.map_or_else(|| "(if absent)".to_owned(), |e| format!("(if {}@{})", e.uid, e.version.0))
}

fn said(claim: &Claim) -> String {
    match claim {
        Claim::Held { node, session } => format!("held by {node} in {session}"),
        Claim::Released { offered_by, offered_to } => {
            let by = offered_by.as_ref().map(|n| format!(", offered by {n}")).unwrap_or_default();
            let to = offered_to.as_ref().map(|n| format!(" to {n}")).unwrap_or_default();
            format!("released{by}{to}")
        }
        Claim::Unclear => "unclear".to_owned(),
    }
}

fn answered(answer: &Answer) -> String {
    let node = |l: &NodeLease| {
        let open = if l.open { "open" } else { "over" };
        format!("{} {open} @{}", l.session, l.version.0)
    };
    let vip = |l: &VipLease| format!("{} @{}", said(&l.claim), l.version.0);
    match answer {
        Answer::Node(reply) => outcome(reply, node),
        Answer::Vip(reply) => outcome(reply, vip),
    }
}

fn outcome<T>(reply: &Reply<T>, show: impl Fn(&T) -> String) -> String {
    match reply {
        Reply::Ok(object) => format!(" => {}", show(object)),
        Reply::NotFound => " => absent".to_owned(),
        Reply::Conflict => " => conflict".to_owned(),
        Reply::Failed => " => failed".to_owned(),
    }
}

fn watched(scope: &Scope, source: Source) -> String {
    match source {
        Source::Vips => "the VIP leases".to_owned(),
        Source::Sessions => "the node leases that are over".to_owned(),
        Source::Named(node) => format!("{}'s lease", scope.names[node]),
    }
}
