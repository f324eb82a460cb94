//! What all nodes do and what becomes of all VIPs, by Leases and Services: pure.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    chain::{Case, Outcome},
    facts::{Standing, Watched},
    finding::{Announcer, Finding, Verdict},
    table::columns,
};
use crate::{
    ownership::{lease::Claim, profile::InterfaceProfile},
    types::{NodeName, Vip},
};

/// A cluster. Serialised it is the output of `--output json`; displayed, that of
/// `--output table`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    nodes: Vec<NodeRow>,
    vips: Vec<VipRow>,
    /// Why there are none, and what to type.
    #[serde(skip)]
    no_vips: Option<String>,
    /// What cannot be read, or not be understood.
    trouble: Vec<String>,
    /// For how long Leases were watched.
    watched_seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct NodeRow {
    node: String,
    session: SessionState,
    /// Since it renewed its lease, in seconds; null: not while it was watched.
    renewed_seconds_ago: Option<f64>,
    /// VIPs that it holds, by their Leases.
    held: usize,
    version: Option<String>,
    interfaces: Vec<InterfaceRow>,
    macs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum SessionState {
    /// Open, and renewed meanwhile.
    Open,
    /// Open, and not renewed for longer than it lasts.
    Silent,
    /// Over, or never begun.
    Over,
    /// The node has no lease.
    None,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct InterfaceRow {
    interface: String,
    #[serde(flatten)]
    profile: InterfaceProfile,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct VipRow {
    vip: String,
    services: Vec<String>,
    /// Who answers, if all is well.
    holder: Option<String>,
    /// What its Lease says.
    lease: LeaseState,
    /// How many nodes may hold it and are alive.
    eligible: usize,
    announced: bool,
    finding: Option<Finding>,
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum LeaseState {
    Absent,
    Held,
    Offered,
    Released,
    Edited,
    Unknown,
}

/// How long it can take until Leases say more: until each open session has been renewed, or
/// cannot be any more.
pub fn undecided(watched: &Watched) -> Option<Duration> {
    let nodes = watched.records.iter().flat_map(|records| &records.nodes);
    let open = nodes.filter(|(node, record)| record.lease.open && !watched.is_alive(node));
    let limit = open.map(|(_, record)| record.duration).max()?;
    (watched.lasted < limit).then_some(limit)
}

impl Overview {
    /// Of all that is known now.
    pub fn new(case: &mut Case<'_>, watched: &Watched) -> Self {
        let mut vips: Vec<Vip> = case.index().claimed().into_iter().map(|(vip, _)| vip).collect();
        let records = watched.records.as_ref();
        let held = |vip: &Vip| {
            let claim = records.and_then(|it| it.vips.get(vip)).map(|it| &it.lease.claim);
            matches!(claim, Some(Claim::Held { .. } | Claim::Unclear))
        };
        // Somebody may still answer for what nobody asks for any more.
        vips.extend(records.iter().flat_map(|it| it.vips.keys()).filter(|vip| held(vip)));
        vips.sort_unstable();
        vips.dedup();
        let strange = records.iter().flat_map(|it| &it.strange).map(ToString::to_string);
        let unreadable = case.forbidden().into_iter().chain(watched.unreadable.clone());
        Self {
            nodes: case.nodes_of(watched),
            no_vips: vips.is_empty().then(|| case.no_vips()),
            vips: vips.into_iter().map(|vip| case.vip_row(vip, watched)).collect(),
            trouble: case.warning(watched).into_iter().chain(unreadable).chain(strange).collect(),
            watched_seconds: seconds(watched.lasted),
        }
    }
}

impl Case<'_> {
    fn nodes_of(&mut self, watched: &Watched) -> Vec<NodeRow> {
        let mut names: Vec<NodeName> = self.index().node_names().cloned().collect();
        names.extend(watched.records.iter().flat_map(|it| it.nodes.keys().cloned()));
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|node| node_row(&node, watched)).collect()
    }

    fn vip_row(&mut self, vip: Vip, watched: &Watched) -> VipRow {
        let report = self.index().explain_vip(vip);
        let services = report.iter().flat_map(|report| report.services.keys());
        let services: Vec<String> = services.map(ToString::to_string).collect();
        let Outcome { announcers, able, link } = self.vip_alone(vip, watched);
        let broken = link.as_ref().is_some_and(|link| link.verdict == Verdict::Problem);
        let holder = announcers.into_iter().next().map(|Announcer { node, .. }| node);
        VipRow {
            vip: vip.to_string(),
            announced: holder.is_some() && !broken && !services.is_empty(),
            lease: lease_state(vip, watched),
            trouble: match &link {
                Some(link) => Some(link.says.clone()),
                None if services.is_empty() => Some("no Service asks for it any more".to_owned()),
                None => None,
            },
            finding: link.and_then(|link| link.finding),
            services,
            holder,
            eligible: able,
        }
    }
}

fn lease_state(vip: Vip, watched: &Watched) -> LeaseState {
    let Some(records) = &watched.records else { return LeaseState::Unknown };
    match records.vips.get(&vip).map(|record| &record.lease.claim) {
        None => LeaseState::Absent,
        Some(Claim::Held { .. }) => LeaseState::Held,
        Some(Claim::Released { offered_by: Some(_), .. }) => LeaseState::Offered,
        Some(Claim::Released { .. }) => LeaseState::Released,
        Some(Claim::Unclear) => LeaseState::Edited,
    }
}

fn node_row(node: &NodeName, watched: &Watched) -> NodeRow {
    let record = watched.node(node);
    let session = match watched.standing(node) {
        Standing::Unreadable | Standing::Elsewhere | Standing::Absent => SessionState::None,
        Standing::Alive => SessionState::Open,
        Standing::Open | Standing::Silent => SessionState::Silent,
        Standing::Over => SessionState::Over,
    };
    let holds = |claim: &Claim| match (claim, record) {
        (Claim::Held { node: holder, session }, Some(record)) => {
            holder == node && *session == record.lease.session
        }
        _ => false,
    };
    let leases = watched.records.iter().flat_map(|it| it.vips.values());
    let profile = record.map(|record| &record.profile);
    let interfaces = profile.and_then(|profile| profile.interfaces.as_ref());
    NodeRow {
        node: node.to_string(),
        session,
        renewed_seconds_ago: watched
            .renewed
            .get(node)
            .filter(|_| session == SessionState::Open)
            .map(|at| seconds(watched.lasted.saturating_sub(*at))),
        held: leases.filter(|record| holds(&record.lease.claim)).count(),
        version: profile.and_then(|it| it.settings.as_ref()).map(|it| it.version.clone()),
        interfaces: interfaces
            .into_iter()
            .flatten()
            .map(|(name, profile)| InterfaceRow {
                interface: name.clone(),
                profile: profile.clone(),
            })
            .collect(),
        macs: record.iter().flat_map(|it| &it.macs).map(ToString::to_string).collect(),
    }
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| "-".to_owned())
}

fn list(values: &[String]) -> String {
    if values.is_empty() { "-".to_owned() } else { values.join(", ") }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

impl Overview {
    /// As `--output wide` has it: MACs and versions, too.
    pub const fn wide(&self) -> Wide<'_> {
        Wide(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, wide: bool) -> fmt::Result {
        let nodes = self.nodes.iter().map(|row| {
            let session = match row.session {
                SessionState::Open => "open",
                SessionState::Silent => "silent",
                SessionState::Over => "over",
                SessionState::None => "-",
            };
            let renewed = row.renewed_seconds_ago.map(|ago| format!("{ago} s ago"));
            let interfaces = row.interfaces.iter().map(|it| {
                let hook = it.profile.hook.as_deref().unwrap_or("not attached");
                format!("{} ({hook}, {})", it.interface, it.profile.link)
            });
            let interfaces = list(&interfaces.collect::<Vec<_>>());
            // Whoever is gone says nothing more of them.
            let is_old = !row.interfaces.is_empty() && row.session != SessionState::Open;
            let last = if is_old { "last said: " } else { "" };
            let mut cells = vec![
                row.node.clone(),
                session.to_owned(),
                text(&renewed),
                row.held.to_string(),
                format!("{last}{interfaces}"),
            ];
            if wide {
                cells.extend([list(&row.macs), text(&row.version)]);
            }
            cells
        });
        let head = ["NODE", "SESSION", "RENEWED", "VIPS", "INTERFACES", "MACS", "VERSION"];
        columns(f, &head[..if wide { 7 } else { 5 }], &nodes.collect::<Vec<_>>())?;
        writeln!(f)?;
        self.write_vips(f)?;
        self.trouble.iter().try_for_each(|trouble| writeln!(f, "\n{trouble}"))
    }

    fn write_vips(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.no_vips {
            return writeln!(f, "{why}");
        }
        let vips = self.vips.iter().map(|row| {
            let lease = match row.lease {
                LeaseState::Absent => "absent",
                LeaseState::Held => "held",
                LeaseState::Offered => "offered",
                LeaseState::Released => "released",
                LeaseState::Edited => "edited by hand",
                LeaseState::Unknown => "?",
            };
            vec![
                row.vip.clone(),
                list(&row.services),
                text(&row.holder),
                lease.to_owned(),
                row.eligible.to_string(),
                text(&row.trouble),
            ]
        });
        let head = ["VIP", "SERVICE", "HOLDER", "LEASE", "ELIGIBLE", "TROUBLE"];
        columns(f, &head, &vips.collect::<Vec<_>>())
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// An overview with more columns.
#[derive(Clone, Copy, Debug)]
pub struct Wide<'a>(&'a Overview);

impl fmt::Display for Wide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, true)
    }
}
