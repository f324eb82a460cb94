//! The chain from a Service to the node that announces it, link by link: pure.
//!
//! What daemons decide is judged by their own index. What only they know (their
//! interfaces) is judged by what they say in their leases.

mod lease;
mod links;
mod nodes;
mod service;
mod wire;

use std::net::IpAddr;

use self::links::{Chain, Wrong};
use super::{
    facts::{Effective, Given, Objects, Watched},
    finding::{Announcer, Explanation, Finding, Link, Verdict},
    remedy::{self, Remedy},
};
use crate::{
    intent::{
        index::{Index, Kind, ObjectKey},
        watch::Unreadable,
    },
    phrase::count,
    types::Vip,
};

/// The command that shows all VIPs.
const OVERVIEW: &str = "status --cluster";

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
    given: Given<'a>,
    index: Index,
}

/// What becomes of one VIP, for those who look at all of them.
pub(super) struct Outcome {
    /// Who announces it.
    pub(super) announcers: Vec<Announcer>,
    /// How many nodes may hold it, and are alive as far as can be told.
    pub(super) able: usize,
    /// The first problem, or else what there is to know.
    pub(super) link: Option<Link>,
}

impl<'a> Case<'a> {
    /// For questions about these objects, under these settings.
    pub fn new(objects: &'a Objects, effective: &'a Effective, given: Given<'a>) -> Self {
        let index = objects.index(effective.selection.clone());
        Self { objects, effective, given, index }
    }

    /// The chain of a Service or an address.
    pub fn explain(&mut self, target: &Target, watched: &Watched) -> Explanation {
        let mut chain = Chain::new(self.given);
        self.settings(&mut chain);
        if watched.are_elsewhere() && self.exists(target) {
            let wrong = self.elsewhere(watched, &format!("explain {target}"));
            chain.problem(target, "announcers", wrong);
            chain.unknown = true;
        }
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

    fn exists(&self, target: &Target) -> bool {
        match target {
            Target::Service(service) => self.objects.service(service).is_some(),
            Target::Address(address) => !self.objects.services_with(*address).is_empty(),
        }
    }

    /// Nothing can be told by the Leases of a namespace that has none of any node; `command`
    /// of the announcer is to be typed again with another.
    fn elsewhere(&self, watched: &Watched, command: &str) -> Wrong {
        let namespaces: Vec<&str> = watched.elsewhere.iter().map(String::as_str).collect();
        let says = format!(
            "no announcer has a node lease in namespace {}, but there are some in {}",
            self.given.namespace,
            namespaces.join(", ")
        );
        let remedy = namespaces.first().map(|other| remedy::announcer_with(command, other));
        Wrong::new(Finding::LeasesElsewhere, says).remedy(remedy)
    }

    /// With what to type, if the Leases are in another namespace.
    pub(super) fn warning(&self, watched: &Watched) -> Option<String> {
        let Wrong { says, remedy, .. } =
            watched.are_elsewhere().then(|| self.elsewhere(watched, OVERVIEW))?;
        Some(format!("{says}; type: {}", self.typed(&remedy?)))
    }

    pub(super) fn typed(&self, remedy: &Remedy) -> String {
        remedy.line(&self.given)
    }

    fn of_service(&mut self, chain: &mut Chain<'_>, service: &ObjectKey, watched: &Watched) {
        let vips = self.service(chain, service);
        for vip in vips {
            self.vip(chain, vip, watched);
        }
    }

    fn of_address(&mut self, chain: &mut Chain<'_>, address: IpAddr, watched: &Watched) {
        let services = self.objects.services_with(address);
        if services.is_empty() {
            let says =
                format!("no Service has {address}, neither in its status nor as external IP");
            let wrong = Wrong::new(Finding::NoSuchAddress, says);
            chain.problem(address, "Service", wrong.remedy(remedy::list_all_services()));
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

    /// The links of one VIP, from nodes to hosts; returns how many nodes are able to hold it.
    fn vip(&mut self, chain: &mut Chain<'_>, vip: Vip, watched: &Watched) -> usize {
        let (from, announcers) = (chain.links.len(), chain.announcers.len());
        let candidates = self.nodes(chain, vip, watched);
        self.lease(chain, vip, &candidates, watched);
        if chain.announcers.len() > announcers {
            // Where no node may hold it, its holder keeps it: it is answered for.
            chain.demote(from);
            // Which is nearest to the clients.
            let doubt = chain.links.iter().skip(from).rfind(|link| {
                link.verdict == Verdict::Note && matches!(link.link, "nodes" | "wire")
            });
            chain.doubt = chain.doubt.take().or_else(|| doubt.cloned());
        }
        candidates.iter().filter(|node| watched.standing(node).may_be_alive()).count()
    }

    /// The links of one VIP alone.
    pub(super) fn vip_alone(&mut self, vip: Vip, watched: &Watched) -> Outcome {
        let mut chain = Chain::new(self.given);
        if watched.are_elsewhere() {
            chain.problem(vip, "announcers", self.elsewhere(watched, OVERVIEW));
        }
        let able = self.vip(&mut chain, vip, watched);
        let noted = || chain.links.iter().find(|link| link.verdict == Verdict::Note);
        let link = chain.first_problem().or(chain.doubt.as_ref()).or_else(noted).cloned();
        Outcome { announcers: chain.announcers, able, link }
    }

    pub(super) const fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    fn settings(&self, chain: &mut Chain<'_>) {
        let Effective { said, others, nodes, .. } = self.effective;
        let Some(said) = said else {
            return chain.ok(
                "announcers",
                "settings",
                "no node says any in its lease: the flags of this command count",
            );
        };
        let says = format!(
            "of {}: version {}, --service-selector {:?}, class {:?}{}{}{}",
            count(*nodes, "node"),
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
        let remedy = remedy::announcers(self.given.namespace);
        chain.note("announcers", "settings", wrong.details(details.collect()).remedy(remedy));
    }
}

fn not_permitted(what: &str, why: &Unreadable) -> Wrong {
    Wrong::new(Finding::NotPermitted, format!("{what}: {why}"))
}

fn conclude(chain: Chain<'_>, target: &Target, watched: &Watched) -> Explanation {
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
