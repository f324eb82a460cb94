//! `announcer probe`: asks on the wire who answers for an address (RFC 5227 section 2.1.1),
//! from any host of the segment.
//!
//! [`watching`] says what answers mean, [`place`] where to ask, [`here`] what this host
//! answers itself, [`finding`] what to make of it all, `show` writes it; the loop here asks
//! and listens.

pub mod finding;
pub mod here;
mod names;
pub mod place;
mod show;
pub mod watching;

use std::{collections::BTreeMap, io, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};

use self::{
    finding::Finding,
    here::{Here, Host},
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
    let (host, places) = survey(args).await?;
    let names = Names::read(args.kubeconfig.as_deref(), &args.namespace).await?;
    let mut askers = BTreeMap::new();
    for place in places.values() {
        if let std::collections::btree_map::Entry::Vacant(entry) = askers.entry(place.index) {
            entry.insert(Asker::open(place.index).map_err(|error| cannot_open(error, place))?);
        }
    }
    let address = |(vip, place)| {
        let here = who_is_here(&host, vip, &place);
        (vip, Address { place, here, watching: Watching::new(args.timeout) })
    };
    let addresses = places.into_iter().map(address).collect();
    let show = Show::new(args.output, args.watch, names, BootTime::now());
    let mut probing = Probing { patience: args.timeout, askers, host, addresses, show };
    probing.show.begin(&probing.addresses)?;
    let rounds = (!args.watch).then_some(args.count.get());
    tokio::select! {
        ended = probing.go_on(interval, rounds) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::unexpected)?,
    }
    probing.end().await
}

/// What this host is like, and where to ask.
async fn survey(args: &ProbeArgs) -> Result<(Host, BTreeMap<Vip, Place>), Failure> {
    let netlink = Netlink::connect().map_err(Failure::unexpected)?;
    let snapshot = netlink.snapshot().await.map_err(Failure::unexpected)?;
    let addresses = netlink.addresses().await.map_err(Failure::unexpected)?;
    let place = |vip: &Vip| {
        let place = place::find(&snapshot, &addresses, *vip, args.interface.as_deref())?;
        Ok((*vip, place))
    };
    let places: Result<_, PlaceError> = args.addresses.iter().map(place).collect();
    let places = places.map_err(|error| Failure { code: Code::Usage, error: error.into() })?;
    let mut host = Host { snapshot, addresses, pinned: Vec::new() };
    host.look().await;
    Ok((host, places))
}

fn who_is_here(host: &Host, vip: Vip, place: &Place) -> Option<Here> {
    host.answers(vip, place, here::arp_ignore(&place.interface), BootTime::now())
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
    host: Host,
    addresses: BTreeMap<Vip, Address>,
    show: Show,
}

/// One address that is asked for.
struct Address {
    place: Place,
    /// Who of this host answers for it, too.
    here: Option<Here>,
    watching: Watching,
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
        for (vip, Address { place, watching, .. }) in &mut self.addresses {
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
        let Some(Address { place, watching, .. }) = self.addresses.get_mut(&vip) else {
            return Ok(());
        };
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
    async fn end(mut self) -> Result<(), Failure> {
        let now = BootTime::now();
        self.host.look().await;
        for (vip, Address { place, here, watching }) in &mut self.addresses {
            let statements: Vec<Statement> = watching.close(now);
            self.show.say(*vip, &statements, now)?;
            // Whoever answered here all the while.
            *here = here
                .take()
                .filter(|here| who_is_here(&self.host, *vip, place).as_ref() == Some(here));
        }
        let mut found = BTreeMap::new();
        for (vip, address) in &self.addresses {
            let finding = Finding::of(address.watching.summary(), address.here.clone());
            found.insert(*vip, (address, finding));
        }
        self.show.end(&found, now)?;
        let bad = found
            .iter()
            .filter_map(|(vip, (_, finding))| Some((finding.code()?, finding.sentence(*vip)?)));
        let (codes, said): (Vec<Code>, Vec<String>) = bad.unzip();
        // Two that answer are worse than none.
        let Some(code) = codes.into_iter().max_by_key(|code| *code as u8) else { return Ok(()) };
        Err(Failure { code, error: anyhow::anyhow!("{}", said.join("\n")) })
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
