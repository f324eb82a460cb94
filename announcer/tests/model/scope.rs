//! What one exploration covers, and the time in which it takes place.

use std::time::Duration;

use announcer::{
    ownership::{heartbeat::OnApiLoss, timing::Timing},
    types::{BootTime, NodeName, Vip},
};

use crate::landmarks::Landmarks;

/// Faults that may still happen, in all and of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) all: u8,
    /// Messages that arrive later than all others of their tick, or never.
    pub(crate) late: u8,
    /// Daemons stopped (SIGSTOP) for a while.
    pub(crate) pauses: u8,
    /// Daemons killed; they may come back.
    pub(crate) crashes: u8,
    /// Nodes that lose power, and maps; they may come back.
    pub(crate) power: u8,
    /// Nodes cut off from the API server for a while.
    pub(crate) cuts: u8,
    /// The API server is gone for a while, and its watch history with it.
    pub(crate) outages: u8,
    /// Node leases deleted by hand, or the holder of the VIP's cleared.
    pub(crate) hands: u8,
    /// The VIP lease deleted by hand.
    pub(crate) deletions: u8,
    /// Nodes told to hand over and leave; they may come back.
    pub(crate) drains: u8,
}

impl Faults {
    /// As many more of each kind that there is, but for deletions of the VIP lease: a
    /// creation sent before one could be applied after the next. (See the known
    /// limits in ARCHITECTURE.md.)
    pub(crate) fn and(self, more: u8) -> Self {
        let add = |n: u8| if n > 0 { n + more } else { 0 };
        Self {
            all: self.all + more,
            late: add(self.late),
            pauses: add(self.pauses),
            crashes: add(self.crashes),
            power: add(self.power),
            cuts: add(self.cuts),
            outages: add(self.outages),
            hands: add(self.hands),
            deletions: self.deletions,
            drains: add(self.drains),
        }
    }
}

/// Which orders of the events of one tick are explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orders {
    /// All.
    Every,
    /// The usual one, but that each late message (a fault) may come at any time.
    Usual,
}

#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) names: Vec<NodeName>,
    pub(crate) vip: Vip,
    pub(crate) timing: Timing,
    pub(crate) handover_timeout: Duration,
    pub(crate) rebalance: Option<Duration>,
    pub(crate) on_loss: OnApiLoss,
    /// True length of a tick.
    pub(crate) tick: Duration,
    /// Each node's clock rate: numerator and denominator.
    pub(crate) rates: Vec<(u64, u64)>,
    pub(crate) orders: Orders,
    /// Ticks in calm weather before the first fault; 0 begins with the boot.
    pub(crate) settled: u16,
    /// Ticks in which faults may happen.
    pub(crate) horizon: u16,
    /// Ticks of calm weather after that, in which the VIP must find a holder.
    pub(crate) calm: u16,
    pub(crate) faults: Faults,
    pub(crate) seen: Landmarks,
}

/// All clocks show this at tick 0.
const ORIGIN: Duration = Duration::from_secs(1000);

impl Scope {
    /// The last tick in which faults may happen.
    pub(crate) const fn last(&self) -> u16 {
        self.settled + self.horizon
    }

    pub(crate) fn clock(&self, node: usize, tick: u16) -> BootTime {
        let (num, den) = self.rates[node];
        let local = nanos(self.tick) * u64::from(tick) * num / den;
        BootTime::ZERO + ORIGIN + Duration::from_nanos(local)
    }

    /// The first tick at which a node's clock shows `local` or more.
    pub(crate) fn tick_of(&self, node: usize, local: BootTime) -> u16 {
        let (num, den) = self.rates[node];
        let elapsed = nanos(local.since(BootTime::ZERO + ORIGIN));
        let ticks = (elapsed * den).div_ceil(nanos(self.tick) * num);
        u16::try_from(ticks).unwrap_or(u16::MAX).min(self.last() + self.calm + 1)
    }

    pub(crate) fn index(&self, name: &NodeName) -> usize {
        self.names.iter().position(|n| n == name).expect("machines know only these nodes")
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).expect("models are short")
}
