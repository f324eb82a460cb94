//! The chain from a Service to the node that announces it, link by link: pure.
//!
//! What daemons decide is judged by their own index. What only they know (their
//! interfaces) is judged by what they say in their leases.

mod lease;
mod nodes;
mod service;

use std::{net::IpAddr, time::Duration};

use super::{
    facts::{self, Effective, Objects, Watched},
    finding::{Announcer, Explanation, Finding, Link, Verdict},
    remedy,
};
use crate::{
    intent::{
        index::{Index, Kind, ObjectKey, key},
        watch::Unreadable,
    },
    types::{NodeName, Vip},
};

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Service.
    Service(ObjectKey),
    /// An address.
    Address(IpAddr),
}

/// Neither a Service nor an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither <namespace>/<service> nor an IP address")]
pub struct TargetError(String);

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let fit = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        match text.split_once('/') {
            Some((namespace, name)) if fit(namespace) && fit(name) => {
                Ok(Self::Service(ObjectKey::new(namespace, name)))
            }
            _ => Err(TargetError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A cluster, ready to be asked about.
#[derive(Debug)]
pub struct Case<'a> {
    objects: &'a Objects,
    effective: &'a Effective,
    /// Of the Leases.
    namespace: &'a str,
    index: Index,
}

/// The links so far.
#[derive(Debug, Default)]
struct Chain {
    links: Vec<Link>,
    announcers: Vec<Announcer>,
    /// How long it can take until leases say more.
    undecided: Option<Duration>,
    /// Something that has to be known cannot be.
    unknown: bool,
    /// Why clients may fail though a VIP is announced.
    doubt: Option<Link>,
}

/// Something that is wrong.
struct Wrong {
    finding: Finding,
    says: String,
    details: Vec<String>,
    remedy: Option<String>,
}

impl Wrong {
    fn new(finding: Finding, says: impl Into<String>) -> Self {
        Self { finding, says: says.into(), details: Vec::new(), remedy: None }
    }

    fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    fn remedy(mut self, remedy: impl Into<Option<String>>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl Chain {
    fn ok(&mut self, of: impl ToString, link: &'static str, says: impl Into<String>) {
        self.push(Verdict::Ok, of, link, None, says.into(), Vec::new(), None);
    }

    fn note(&mut self, of: impl ToString, link: &'static str, wrong: Wrong) {
        let Wrong { finding, says, details, remedy } = wrong;
        self.push(Verdict::Note, of, link, Some(finding), says, details, remedy);
    }

    fn problem(&mut self, of: impl ToString, link: &'static str, wrong: Wrong) {
        let Wrong { finding, says, details, remedy } = wrong;
        self.push(Verdict::Problem, of, link, Some(finding), says, details, remedy);
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a link is made")]
    fn push(
        &mut self,
        verdict: Verdict,
        of: impl ToString,
        link: &'static str,
        finding: Option<Finding>,
        says: String,
        details: Vec<String>,
        remedy: Option<String>,
    ) {
        let of = of.to_string();
        self.links.push(Link { verdict, of, link, says, details, finding, remedy });
    }

    fn first_problem(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.verdict == Verdict::Problem)
    }

    /// Problems from the link numbered `from` on are nobody's who is asked about.
    fn demote(&mut self, from: usize) {
        for link in self.links.iter_mut().skip(from) {
            if link.verdict == Verdict::Problem {
                link.verdict = Verdict::Note;
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.undecided = self.undecided.max(Some(duration));
    }
}

impl<'a> Case<'a> {
    /// For questions about these objects, under these settings, with Leases of `namespace`.
    pub fn new(objects: &'a Objects, effective: &'a Effective, namespace: &'a str) -> Self {
        let index = objects.index(effective.selection.clone());
        Self { objects, effective, namespace, index }
    }

    /// The chain of a Service or an address.
    pub fn explain(&mut self, target: &Target, watched: &Watched) -> Explanation {
        let mut chain = Chain::default();
        self.settings(&mut chain);
        if let Some(why) = self.objects.unreadable.get(&Kind::Service) {
            let wrong = not_permitted("Services", why);
            let remedy = remedy::may_i(None, "list", "services");
            chain.problem(target, "Service", wrong.remedy(remedy));
            chain.unknown = true;
        } else {
            if let Some(why @ Unreadable::Forbidden(_)) = self.objects.unreadable.get(&Kind::Policy)
            {
                let wrong = not_permitted("L2AnnouncementPolicy objects, which may decide", why);
                let resource = "l2announcementpolicies.l2announcer.io";
                let remedy = remedy::may_i(None, "list", resource);
                chain.note(target, "selection", wrong.remedy(remedy));
            }
            match target {
                Target::Service(service) => self.of_service(&mut chain, service, watched),
                Target::Address(address) => self.of_address(&mut chain, *address, watched),
            }
        }
        conclude(chain, target, watched)
    }

    fn of_service(&mut self, chain: &mut Chain, service: &ObjectKey, watched: &Watched) {
        let vips = self.service(chain, service);
        for vip in vips {
            self.vip(chain, vip, watched);
        }
    }

    fn of_address(&mut self, chain: &mut Chain, address: IpAddr, watched: &Watched) {
        let has = |text: &str| text.parse() == Ok(address);
        let services: Vec<_> = self.objects.services().collect();
        let services: Vec<ObjectKey> = services
            .into_iter()
            .filter(|service| facts::addresses(service).any(has))
            .map(|service| key(&service.metadata))
            .collect();
        if services.is_empty() {
            let says =
                format!("no Service has {address}, neither in its status nor as external IP");
            let wrong = Wrong::new(Finding::NoSuchAddress, says);
            let remedy = "kubectl get services --all-namespaces -o wide".to_owned();
            chain.problem(address, "Service", wrong.remedy(remedy));
            return;
        }
        let vip = Vip::new(address).ok();
        let claims = |vip: Vip, claimed: Vec<(Vip, Vec<ObjectKey>)>| {
            claimed.into_iter().find(|(claim, _)| *claim == vip).map(|(_, services)| services)
        };
        let claimants = vip.and_then(|vip| claims(vip, self.index.claimed())).unwrap_or_default();
        for service in &services {
            let from = chain.links.len();
            self.service(chain, service);
            if !claimants.is_empty() && !claimants.contains(service) {
                chain.demote(from);
            }
        }
        if let Some(vip) = vip.filter(|_| !claimants.is_empty()) {
            self.vip(chain, vip, watched);
        }
    }

    /// The links of one VIP, from nodes to lease.
    fn vip(&mut self, chain: &mut Chain, vip: Vip, watched: &Watched) {
        let (from, announcers) = (chain.links.len(), chain.announcers.len());
        let candidates = self.nodes(chain, vip, watched);
        self.lease(chain, vip, &candidates, watched);
        self.unheard(chain, vip, announcers, watched);
        if chain.announcers.len() > announcers {
            // Where no node may hold it, its holder keeps it: it is answered for.
            chain.demote(from);
            let doubt = chain
                .links
                .iter()
                .skip(from)
                .find(|link| link.verdict == Verdict::Note && link.link == "nodes");
            chain.doubt = chain.doubt.take().or_else(|| doubt.cloned());
        }
    }

    /// A holder that nobody hears announces nothing: of the announcers from the one numbered
    /// `from` on, those whose own interfaces do not work are none.
    fn unheard(&self, chain: &mut Chain, vip: Vip, from: usize, watched: &Watched) {
        let holders = chain.announcers.split_off(from);
        for holder in holders {
            let node = holder.node.parse::<NodeName>().ok();
            let trouble = node.and_then(|node| Some((self.trouble(vip, &node, watched)?, node)));
            let Some((trouble, node)) = trouble else {
                chain.announcers.push(holder);
                continue;
            };
            let says = format!("{node} holds it, and nobody hears it: it says that {trouble}");
            let wrong = Wrong::new(Finding::LinkTrouble, says);
            let remedy = remedy::announcer_on(self.namespace, &node);
            chain.problem(vip, "lease", wrong.remedy(remedy));
        }
    }

    /// The links of one VIP alone, for those who look at all of them: who announces it, or
    /// else the first problem.
    pub(super) fn vip_alone(
        &mut self,
        vip: Vip,
        watched: &Watched,
    ) -> (Vec<Announcer>, Option<Link>, Option<Duration>) {
        let mut chain = Chain::default();
        self.vip(&mut chain, vip, watched);
        let problem = chain.first_problem().cloned();
        let noted = || chain.links.iter().find(|link| link.verdict == Verdict::Note).cloned();
        let link = problem.or_else(noted);
        (chain.announcers, link, chain.undecided)
    }

    pub(super) const fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    fn settings(&self, chain: &mut Chain) {
        let Effective { said, others, nodes, .. } = self.effective;
        let Some(said) = said else {
            return chain.ok(
                "announcers",
                "settings",
                "no node says any in its lease: the flags of this command count",
            );
        };
        let says = format!(
            "of {nodes} nodes: version {}, --service-selector {:?}, class {:?}{}{}{}",
            said.version,
            said.service_selector,
            said.load_balancer_class,
            if said.require_class { ", --require-class" } else { "" },
            if said.external_ips { ", --external-ips" } else { "" },
            if said.exclude_cordoned { ", --exclude-cordoned" } else { "" },
        );
        if others.is_empty() {
            return chain.ok("announcers", "settings", says);
        }
        let details = others.iter().map(|(node, other)| {
            let text = serde_json::to_string(other).unwrap_or_default();
            format!("{node} has other settings: {text}")
        });
        let wrong = Wrong::new(Finding::SettingsDiffer, format!("{says}; other nodes differ"));
        let remedy = remedy::announcers(self.namespace);
        chain.note("announcers", "settings", wrong.details(details.collect()).remedy(remedy));
    }
}

fn not_permitted(what: &str, why: &Unreadable) -> Wrong {
    Wrong::new(Finding::NotPermitted, format!("{what}: {why}"))
}

fn conclude(chain: Chain, target: &Target, watched: &Watched) -> Explanation {
    let problem = chain.first_problem().cloned();
    let remedy = |link: &Link| {
        let remedy = link.remedy.as_ref();
        remedy.map_or(String::new(), |remedy| format!("; type: {remedy}"))
    };
    let announced = match &problem {
        _ if chain.unknown => None,
        Some(_) => Some(false),
        None => Some(!chain.announcers.is_empty()),
    };
    let conclusion = match (&problem, announced) {
        (Some(problem), announced) => {
            let verdict = match announced {
                None => "it cannot be told whether it is announced",
                Some(_) => "not announced",
            };
            let of = if problem.of == target.to_string() {
                String::new()
            } else {
                format!("{}: ", problem.of)
            };
            format!("{target}: {verdict}: {of}{}{}", problem.says, remedy(problem))
        }
        (None, Some(true)) => {
            let by: Vec<String> = chain.announcers.iter().map(announcer).collect();
            let doubt = chain.doubt.as_ref();
            let doubt = doubt.map(|link| format!(", but {}{}", link.says, remedy(link)));
            format!("{target}: announced: {}{}", by.join("; "), doubt.unwrap_or_default())
        }
        (None, _) => format!("{target}: nothing of it is announced"),
    };
    let first = problem.or(chain.doubt);
    Explanation {
        target: target.to_string(),
        announced,
        finding: first.as_ref().and_then(|link| link.finding),
        remedy: first.and_then(|link| link.remedy),
        conclusion,
        announcers: chain.announcers,
        chain: chain.links,
        watched_seconds: (watched.lasted.as_secs_f64() * 1e3).round() / 1e3,
        undecided: chain.undecided,
    }
}

fn announcer(Announcer { vip, node, interfaces, macs }: &Announcer) -> String {
    let on: Vec<String> = interfaces
        .iter()
        .map(|it| match &it.mac {
            Some(mac) => format!("{mac} on {}", it.interface),
            None => it.interface.clone(),
        })
        .collect();
    let on = if on.is_empty() { macs.join(", ") } else { on.join(", ") };
    format!("{vip} by node {node} ({on})")
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
