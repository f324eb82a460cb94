//! `announcer probe`: asks on the wire who answers for an address (RFC 5227 section 2.1.1),
//! from any host of the segment.
//!
//! [`watching`] says what answers mean, [`place`] where to ask, `show` writes it; the loop
//! here asks and listens.

mod names;
pub mod place;
mod show;
pub mod watching;

use std::{collections::BTreeMap, io, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};

use self::{
    names::Names,
    place::{Place, PlaceError},
    show::Show,
    watching::{Statement, Watching},
};
use crate::{
    announce::wire::asking::{Arp, ArpOperation, Asker},
    cli::ProbeArgs,
    datapath::netlink::Netlink,
    exit::{Code, Failure},
    types::{BootTime, IfIndex, Vip},
};

const ONCE: Duration = Duration::from_millis(300);
const WATCH: Duration = Duration::from_millis(100);
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(3600);

/// Runs the command. Must be called within a tokio runtime of one thread.
///
/// # Errors
/// [`Code::NotAnnounced`] and [`Code::Duplicate`], after everything has been written;
/// [`Code::Usage`] for an address that no interface leads to; [`Code::NotPermitted`].
pub async fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let usage = |error: anyhow::Error| Failure { code: Code::Usage, error };
    let interval = args.interval.unwrap_or(if args.watch { WATCH } else { ONCE });
    if !(LEAST..=MOST).contains(&interval) {
        return Err(usage(anyhow::anyhow!("--interval {interval:?} is not between 10ms and 1h")));
    }
    let places = places(args).await?;
    let names = Names::read(args.kubeconfig.as_deref(), &args.namespace).await?;
    let mut asked = BTreeMap::new();
    for place in places.values() {
        if let std::collections::btree_map::Entry::Vacant(entry) = asked.entry(place.index) {
            entry.insert(Asker::open(place.index).map_err(|error| cannot_open(error, place))?);
        }
    }
    let mut probing = Probing {
        patience: args.timeout,
        askers: asked,
        addresses: places
            .into_iter()
            .map(|(vip, place)| (vip, (place, Watching::new(args.timeout))))
            .collect(),
        show: Show::new(args.output, args.watch, names, BootTime::now()),
    };
    probing.show.begin(probing.addresses.iter().map(|(vip, (place, _))| (*vip, place)))?;
    let rounds = (!args.watch).then_some(args.count.get());
    tokio::select! {
        ended = probing.go_on(interval, rounds) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::unexpected)?,
    }
    probing.end()
}

async fn places(args: &ProbeArgs) -> Result<BTreeMap<Vip, Place>, Failure> {
    let netlink = Netlink::connect().map_err(Failure::unexpected)?;
    let snapshot = netlink.snapshot().await.map_err(Failure::unexpected)?;
    let own = netlink.addresses().await.map_err(Failure::unexpected)?;
    let place = |vip: &Vip| {
        let place = place::find(&snapshot, &own, *vip, args.interface.as_deref())?;
        Ok((*vip, place))
    };
    let places: Result<_, PlaceError> = args.addresses.iter().map(place).collect();
    places.map_err(|error| Failure { code: Code::Usage, error: error.into() })
}

fn cannot_open(error: io::Error, place: &Place) -> Failure {
    let (code, text) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (
            Code::NotPermitted,
            "asking by ARP is not permitted: run it as root, or with CAP_NET_RAW".to_owned(),
        ),
        _ => (Code::Unexpected, format!("no packet socket on {}", place.interface)),
    };
    Failure { code, error: anyhow::Error::new(error).context(text) }
}

struct Probing {
    patience: Duration,
    askers: BTreeMap<IfIndex, Asker>,
    addresses: BTreeMap<Vip, (Place, Watching)>,
    show: Show,
}

impl Probing {
    /// Asks `rounds` times, or for ever, and waits for the last answer.
    async fn go_on(&mut self, interval: Duration, rounds: Option<u32>) -> Result<(), Failure> {
        let mut due = tokio::time::interval(interval);
        // After a stall the questions that were not asked are left out.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = rounds;
        let mut end: Option<Instant> = None;
        loop {
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What has come is an answer to what was asked before.
                biased;
                heard = hear(&self.askers) => {
                    let (index, arp) = heard.map_err(Failure::unexpected)?;
                    self.take(index, &arp)?;
                }
                () = over => return Ok(()),
                _ = due.tick(), if left != Some(0) => {
                    self.ask()?;
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        end = Some(Instant::now() + self.patience);
                    }
                }
            }
        }
    }

    fn ask(&mut self) -> Result<(), Failure> {
        for (vip, (place, watching)) in &mut self.addresses {
            let now = BootTime::now();
            let statements = watching.asked(now);
            self.show.say(*vip, &statements, now)?;
            if let Some(asker) = self.askers.get(&place.index)
                && let Err(error) = asker.ask(*vip, place.mac)
            {
                // While the interface is down the question is one that nobody answers.
                self.show.cannot_ask(*vip, &error, now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, on: IfIndex, arp: &Arp) -> Result<(), Failure> {
        let now = BootTime::now();
        let Ok(vip) = Vip::new(arp.sender.into()) else { return Ok(()) };
        let Some((place, watching)) = self.addresses.get_mut(&vip) else { return Ok(()) };
        if place.index != on || place.mac == arp.sender_mac {
            return Ok(());
        }
        let is_gratuitous = arp.sender == arp.target;
        let statements = match (arp.operation, is_gratuitous) {
            (_, true) => vec![watching.announced(arp.sender_mac)],
            // Our questions name no address to answer to: other answers are to others'.
            (ArpOperation::Reply, false)
                if arp.target.is_unspecified() && arp.destination == place.mac =>
            {
                watching.answered(arp.sender_mac, now)
            }
            _ => return Ok(()),
        };
        self.show.say(vip, &statements, now)
    }

    /// The last words, and how it ended.
    fn end(mut self) -> Result<(), Failure> {
        let now = BootTime::now();
        for (vip, (_, watching)) in &mut self.addresses {
            let statements: Vec<Statement> = watching.close(now);
            self.show.say(*vip, &statements, now)?;
        }
        let summaries = self.addresses.iter().map(|(vip, (place, it))| (*vip, place, it.summary()));
        let summaries: Vec<_> = summaries.collect();
        self.show.end(&summaries, now)?;
        let list = |is: &dyn Fn(&watching::Summary) -> bool| {
            let of = summaries.iter().filter(|(_, _, summary)| is(summary));
            of.map(|(vip, ..)| vip.to_string()).collect::<Vec<_>>().join(", ")
        };
        let twice = list(&|summary| summary.duplicated > 0);
        let never = list(&|summary| summary.by.is_empty());
        if !twice.is_empty() {
            let error =
                anyhow::anyhow!("two stations answer for {twice}: find the one that should not");
            return Err(Failure { code: Code::Duplicate, error });
        }
        if !never.is_empty() {
            let error = anyhow::anyhow!("nobody answers for {never}");
            return Err(Failure { code: Code::NotAnnounced, error });
        }
        Ok(())
    }
}

/// The next frame on any of the interfaces. Cancel-safe.
async fn hear(askers: &BTreeMap<IfIndex, Asker>) -> io::Result<(IfIndex, Arp)> {
    let each = askers.iter().map(|(index, asker)| {
        Box::pin(async move {
            loop {
                match asker.hear().await {
                    // It may come up again.
                    Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                    heard => return heard.map(|arp| (*index, arp)),
                }
            }
        })
    });
    futures::future::select_all(each).await.0
}
