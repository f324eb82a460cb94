//! The way of a request to the API server, and of its answer back.

use std::time::Duration;

use announcer::ownership::lease::{Answer, Claim, Reply, Request};

use crate::{
    clock::MS,
    world::{Event, ToDaemon, World},
};

/// The API server, besides its store.
#[derive(Default)]
pub(crate) struct Api {
    /// It answers nobody.
    pub(crate) outage: bool,
    /// Counts its restarts: what was under way at one is lost.
    pub(crate) restarts: u64,
    /// Half of all writes are refused as conflicts, whatever they expect.
    pub(crate) quarrelsome: bool,
    pub(crate) hold_ups: Vec<HoldUp>,
    /// How long it keeps its answers back.
    pub(crate) slow_answers: u64,
}

/// What a story has in mind for the next few of a node's requests.
pub(crate) struct HoldUp {
    pub(crate) node: usize,
    pub(crate) which: fn(&Request) -> bool,
    pub(crate) fate: Fate,
    /// How many.
    pub(crate) left: u32,
}

/// What becomes of a request that is held up.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// It arrives so late; its answer never does.
    Late(u64),
    /// It is lost.
    Lost,
    /// It fails at once.
    Refused,
}

/// A request on its way to the API server.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) node: usize,
    life: u64,
    pub(crate) request: Request,
    /// When the answer is back, if it comes in time.
    answered_at: Option<u64>,
    /// When the client gives up.
    gives_up: u64,
    restarts: u64,
    sent: u64,
}

impl World {
    /// Whether a message between this node and the API server would arrive.
    pub(crate) fn reaches_api(&self, i: usize) -> bool {
        !self.api.outage && self.nodes[i].api
    }

    /// What the machine asks for, in the order and at the pace of the driver.
    pub(crate) fn post(&mut self, i: usize, requests: Vec<Request>) {
        for request in requests {
            self.judge_request(i, &request);
            if about_vip(&request) {
                self.nodes[i].outbox.waiting.push_back(request);
            } else {
                self.send(i, request);
            }
        }
        let now = self.now(i);
        while let Some(request) = self.nodes[i].outbox.next(now) {
            self.send(i, request);
        }
    }

    fn send(&mut self, node: usize, request: Request) {
        let life = self.nodes[node].life;
        let timeout = u64::try_from(self.flags.timing.request_timeout().as_nanos());
        let local = self.now(node) + Duration::from_nanos(timeout.expect("short timeouts"));
        // The client gives up on its own clock. What is under way then may still
        // be applied.
        let gives_up = self.nodes[node].clock.true_time(local);
        let rough = self.rough();
        let mut sent = Sent {
            node,
            life,
            request,
            answered_at: None,
            gives_up,
            restarts: self.api.restarts,
            sent: self.t,
        };
        let lost = rough && self.rng.u8(..) < 4;
        if !self.reaches_api(node) || lost {
            // A closed port is told at once, a lost packet is not.
            let refused = self.api.outage && self.rng.bool();
            let at = if refused { self.t + self.rng.u64(1..10) * MS } else { gives_up };
            return self.fail(sent, at.min(gives_up));
        }
        let held_up = self.api.hold_ups.iter_mut().find(|hold_up| {
            hold_up.node == node && hold_up.left > 0 && (hold_up.which)(&sent.request)
        });
        if let Some(hold_up) = held_up {
            hold_up.left -= 1;
            match hold_up.fate {
                Fate::Late(by) => {
                    self.schedule(self.t + by, Event::Arrive(sent.clone()));
                    self.fail(sent, gives_up);
                }
                Fate::Lost => self.fail(sent, gives_up),
                Fate::Refused => {
                    let soon = self.t + 5 * MS;
                    self.fail(sent, soon);
                }
            }
            return;
        }
        let mut travel = || {
            let slow = rough && self.rng.u8(..) < 8;
            if slow { self.rng.u64(1..3000) * MS } else { self.rng.u64(1..10) * MS }
        };
        let arrives = self.t + travel();
        let answered = arrives + travel() + self.api.slow_answers;
        let answer_lost = rough && self.rng.u8(..) < 6;
        if !answer_lost && answered < gives_up {
            sent.answered_at = Some(answered);
        } else {
            self.fail(sent.clone(), gives_up);
        }
        self.schedule(arrives, Event::Arrive(sent));
    }

    /// A request reaches the API server.
    pub(crate) fn arrive(&mut self, sent: Sent) {
        if self.api.outage || self.api.restarts != sent.restarts {
            if sent.answered_at.is_some() {
                let at = sent.gives_up;
                self.fail(sent, at);
            }
            return;
        }
        if self.nodes[sent.node].life != sent.life && releases(&sent.request) {
            // A known limit: what a daemon gave up before it was killed may be given up
            // behind the back of the next one, which goes on in its session.
            return;
        }
        let write = matches!(sent.request, Request::WriteNode { .. } | Request::WriteVip { .. });
        let (answer, changed) = if write && self.api.quarrelsome && self.rng.bool() {
            (refusal(&sent.request), false)
        } else {
            self.store.apply(&sent.request)
        };
        self.trace(|w| format!("{}: {:?} => {answer:?}", w.nodes[sent.node].name, sent.request));
        if changed {
            if let Request::WriteVip { vip, .. } = &sent.request {
                self.vip_written.insert(*vip, self.t);
            }
            self.judge_write(&sent);
            self.broadcast();
        }
        if let Some(at) = sent.answered_at {
            self.schedule(at, Event::Answer(sent, answer));
        }
    }

    /// An answer reaches the node, if the way is still there.
    pub(crate) fn answer(&mut self, sent: Sent, answer: Answer) {
        if self.reaches_api(sent.node) && self.api.restarts == sent.restarts {
            let Sent { node, life, request, sent, .. } = sent;
            let what = ToDaemon::Answer { request, answer, sent };
            self.schedule(self.t, Event::Daemon { node, life, what });
        } else {
            let at = sent.gives_up;
            self.fail(sent, at);
        }
    }

    fn fail(&mut self, sent: Sent, at: u64) {
        let Sent { node, life, request, sent, .. } = sent;
        let answer = match request {
            Request::ReadNode(_) | Request::WriteNode { .. } => Answer::Node(Reply::Failed),
            Request::ReadVip(_) | Request::WriteVip { .. } => Answer::Vip(Reply::Failed),
        };
        let what = ToDaemon::Answer { request, answer, sent };
        self.schedule(at, Event::Daemon { node, life, what });
    }
}

pub(crate) const fn about_vip(request: &Request) -> bool {
    matches!(request, Request::ReadVip(_) | Request::WriteVip { .. })
}

/// Whether it says that nobody holds a VIP.
pub(crate) const fn releases(request: &Request) -> bool {
    matches!(request, Request::WriteVip { claim: Claim::Released { .. }, .. })
}

/// Whether it says that somebody does.
pub(crate) const fn takes(request: &Request) -> bool {
    matches!(request, Request::WriteVip { claim: Claim::Held { .. }, .. })
}

const fn refusal(request: &Request) -> Answer {
    if about_vip(request) { Answer::Vip(Reply::Conflict) } else { Answer::Node(Reply::Conflict) }
}
