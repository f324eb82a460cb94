//! The announcer and keepalived side by side: the same lab, the same failures, at the same
//! time.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use announcer_tests::{
    cluster::{Cluster, Plane, Timing},
    daemon::Signal,
    lab::{CLIENT_NIC, Lab, Link},
    probe::Probe,
    topology::Cut,
};
use anyhow::{Context, Result};

use super::{NODES, PATIENCE, STAY, keepalived::Keepaliveds};
use crate::{
    addresses, interrupt, progress,
    report::{Cell, Row, Table},
    samples::Samples,
};

/// From the failure on, for so long, each round is watched; a process is stopped for all of
/// it.
const WATCHED: Duration = Duration::from_secs(10);
/// And so long after a stopped process was continued.
const CONTINUED: Duration = Duration::from_secs(5);
/// A kernel that answers makes a neighbour entry for everybody who asks, in a table of
/// about 1,000 that all namespaces share.
const ASKERS: u32 = 128;
/// Requests before the failure.
const BEFORE: usize = 500;

/// What happens to the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Its links are cut, for good.
    Crash,
    /// SIGKILL to every process of the daemon.
    Kill,
    /// SIGSTOP to every process, and SIGCONT after [`WATCHED`].
    Stop,
    /// SIGTERM.
    Terminate,
}

const FAILURES: [Failure; 4] = [Failure::Crash, Failure::Kill, Failure::Stop, Failure::Terminate];

/// What a client saw of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    unanswered: usize,
    contested: usize,
    /// Seconds until somebody else answered; infinite where nobody did.
    first: f64,
}

/// Daemons on all nodes, of which one answers.
trait Contestant: Sized {
    const NAME: &str;

    fn start(vip: Ipv4Addr) -> Result<Self>;
    fn lab(&self) -> &Lab;
    fn holder(&self, vip: Ipv4Addr) -> Result<usize>;
    fn signal(&mut self, node: usize, signal: Signal) -> Result<()>;
}

pub(super) fn measure(rounds: u32) -> Result<Table> {
    let columns =
        ["rounds", "unanswered", "worst case", "by two", "the worst", "s to answer", "longest"];
    let title = "announcer (3s/1s) and keepalived (advert_int 1) with the same failures";
    let mut table = Table::new(title, columns).legend(format!(
        "of 1000 requests a second in {WATCHED:?} from the failure on (stopped: for these, and \
         {CONTINUED:?} more): median and worst of the rounds; time to the first answer of a \
         successor"
    ));
    for failure in FAILURES {
        progress(&format!("{rounds} rounds: {}", failure.name()));
        let (ours, theirs) = thread::scope(|scope| {
            let ours = scope.spawn(|| all_rounds::<Announcers>(failure, rounds));
            let theirs = scope.spawn(|| all_rounds::<Keepaliveds>(failure, rounds));
            let join = |of: thread::ScopedJoinHandle<'_, _>| {
                of.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (join(ours), join(theirs))
        });
        table.rows.push(row::<Announcers>(failure, &ours?)?);
        table.rows.push(row::<Keepaliveds>(failure, &theirs?)?);
    }
    Ok(table)
}

fn all_rounds<C: Contestant>(failure: Failure, rounds: u32) -> Result<Vec<Round>> {
    let round = |_| {
        interrupt::check()?;
        let round =
            one_round::<C>(failure).with_context(|| format!("{}: {}", C::NAME, failure.name()))?;
        progress(&format!("  {}: {round:?}", C::NAME));
        Ok(round)
    };
    (0..rounds).map(round).collect()
}

fn one_round<C: Contestant>(failure: Failure) -> Result<Round> {
    let vip = addresses::in_the_lan(0);
    let mut contestant = C::start(vip)?;
    let holder = contestant.holder(vip)?;
    let lab = contestant.lab();
    let mac = lab.node(holder).mac;
    let probe = Probe::new(vip).askers(ASKERS).start(lab.client(), CLIENT_NIC)?;
    probe.wait_answer_by(mac, PATIENCE)?;
    probe.wait_requests(BEFORE)?;
    let began = Instant::now();
    match failure {
        Failure::Crash => drop(lab.cut(lab.node(holder), Link::All, Cut::Silent)?),
        Failure::Kill => contestant.signal(holder, Signal::Kill)?,
        Failure::Stop => contestant.signal(holder, Signal::Stop)?,
        Failure::Terminate => contestant.signal(holder, Signal::Term)?,
    }
    interrupt::pause(WATCHED)?;
    if failure == Failure::Stop {
        contestant.signal(holder, Signal::Cont)?;
        interrupt::pause(CONTINUED)?;
    }
    let recording = probe.stop()?;
    let seen = recording.between(began, recording.to);
    let others = seen.answerers().into_iter().filter(|(answerer, _)| *answerer != mac);
    let first = others.map(|(_, answered)| answered.first.at).min();
    let took = |at: Instant| at.saturating_duration_since(began).as_secs_f64();
    Ok(Round {
        unanswered: seen.unanswered(),
        contested: seen.contested(),
        first: first.map_or(f64::INFINITY, took),
    })
}

fn row<C: Contestant>(failure: Failure, rounds: &[Round]) -> Result<Row> {
    let of = |part: fn(&Round) -> f64| {
        Samples::new(rounds.iter().map(part)).context("there are no rounds")
    };
    let unanswered = of(|round| round.unanswered as f64)?;
    let contested = of(|round| round.contested as f64)?;
    let first = of(|round| round.first)?;
    let mut cells = [
        rounds.len() as f64,
        unanswered.median(),
        unanswered.max(),
        contested.median(),
        contested.max(),
        first.median(),
        first.max(),
    ]
    .map(Cell::from);
    if C::NAME == Announcers::NAME {
        let [_, _, unanswered, _, contested, _, _] = &mut cells;
        // One at a time, except for a moment of a planned move, which loses nothing.
        if failure == Failure::Terminate {
            *unanswered = unanswered.at_most(0.0);
            *contested = contested.at_most(50.0);
        } else {
            *contested = contested.at_most(0.0);
        }
    }
    Ok(Row::new(format!("{}: {}", failure.name(), C::NAME), cells))
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::Crash => "links cut",
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP, SIGCONT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Ours.
struct Announcers(Cluster);

impl Contestant for Announcers {
    const NAME: &str = "announcer";

    fn start(vip: Ipv4Addr) -> Result<Self> {
        let mut cluster = Cluster::new(Plane::Embedded, NODES, Timing::DEFAULT, STAY)?;
        cluster.create_service("web", vip)?;
        cluster.start_all()?;
        cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
        cluster.wait_lease_duration()?;
        Ok(Self(cluster))
    }

    fn lab(&self) -> &Lab {
        self.0.lab()
    }

    fn holder(&self, vip: Ipv4Addr) -> Result<usize> {
        self.0.holder(vip).context("nobody holds the VIP")
    }

    fn signal(&mut self, node: usize, signal: Signal) -> Result<()> {
        if signal == Signal::Kill {
            return self.0.kill(node).map(drop);
        }
        self.0.daemon(node)?.signal(signal)
    }
}

impl Contestant for Keepaliveds {
    const NAME: &str = "keepalived";

    fn start(vip: Ipv4Addr) -> Result<Self> {
        Self::start(NODES, vip)
    }

    fn lab(&self) -> &Lab {
        self.lab()
    }

    /// The one with the highest priority; until it answers, see [`one_round`].
    fn holder(&self, _vip: Ipv4Addr) -> Result<usize> {
        Ok(1)
    }

    fn signal(&mut self, node: usize, signal: Signal) -> Result<()> {
        self.signal(node, signal)
    }
}
