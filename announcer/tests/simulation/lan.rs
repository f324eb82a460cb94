//! The LAN: gratuitous ARP of the nodes, as the others' data planes report it.

use std::time::Duration;

use announcer::types::Vip;

use crate::{
    clock::MS,
    world::{Event, ToDaemon, World},
};

/// As the announce schedule has it.
const ROUNDS: u8 = 5;
const ROUND_INTERVAL: Duration = Duration::from_millis(1100);

/// One round of gratuitous ARP that is due.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) vip: Vip,
    /// Which takeover it belongs to.
    pub(crate) takeover: u64,
    number: u8,
}

impl World {
    /// Announcements begin for what a node has come to answer.
    pub(crate) fn announce(&mut self, i: usize, fresh: Vec<(Vip, u64)>) {
        for (vip, takeover) in fresh {
            let first = self.t + self.rng.u64(1..2 * MS);
            self.due(i, Round { vip, takeover, number: 1 }, first);
        }
    }

    /// The link is back: whatever the node answers is announced again.
    pub(crate) fn announce_again(&mut self, i: usize) {
        let now = self.now(i);
        let plane = &self.nodes[i].plane;
        let answered = plane.announced.iter().filter(|(vip, _)| plane.answers(now, **vip));
        let again = answered.map(|(vip, takeover)| (*vip, *takeover)).collect();
        self.announce(i, again);
    }

    fn due(&mut self, i: usize, round: Round, at: u64) {
        let life = self.nodes[i].life;
        self.schedule(at, Event::Daemon { node: i, life, what: ToDaemon::Announce(round) });
    }

    /// The responder sends a round, and plans the next.
    pub(crate) fn send_round(&mut self, i: usize, round: Round) {
        let now = self.now(i);
        let plane = &self.nodes[i].plane;
        if plane.announced.get(&round.vip) != Some(&round.takeover)
            || !plane.answers(now, round.vip)
        {
            return;
        }
        if self.nodes[i].lan {
            self.trace(|w| format!("{} announces {}", w.nodes[i].name, round.vip));
            for to in (0..self.nodes.len()).filter(|to| *to != i) {
                let lost = self.rough() && self.rng.u8(..) < 16;
                if !lost {
                    let at = self.t + self.rng.u64(50_000..MS);
                    self.schedule(at, Event::Frame { to, vip: round.vip, from: i });
                }
            }
        }
        if round.number < ROUNDS {
            let at = self.nodes[i].clock.true_time(now + ROUND_INTERVAL);
            self.due(i, Round { number: round.number + 1, ..round }, at);
        }
    }

    /// A frame reaches a node's data plane. With no daemon to fetch it, it is lost.
    pub(crate) fn frame(&mut self, to: usize, vip: Vip, from: usize) {
        let node = &self.nodes[to];
        if node.lan && node.machine.is_some() {
            let life = node.life;
            self.schedule(
                self.t,
                Event::Daemon { node: to, life, what: ToDaemon::Claim { vip, from } },
            );
        }
    }
}
