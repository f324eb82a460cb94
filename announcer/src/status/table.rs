//! The daemon and its VIPs for people: in 80 columns, or with everything.

use std::fmt;

use super::daemon::{ClusterStatus, ConflictStatus, DaemonStatus, VipStatus};

/// A line is no longer, but for what is wide on purpose.
const COLUMNS: usize = 80;

pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    daemon: &DaemonStatus,
    vips: Option<&[VipStatus]>,
    wide: bool,
) -> fmt::Result {
    let DaemonStatus { version, pid, uptime_seconds, responsive, cluster } = daemon;
    let who = cluster.as_ref().map_or("static VIPs", |cluster| &cluster.node);
    writeln!(f, "{who}  announcer {version}, process {pid}, up {}", age(*uptime_seconds))?;
    if !responsive {
        return writeln!(
            f,
            "  its ownership loop does not answer: what is pinned goes on until its time is over"
        );
    }
    if let Some(cluster) = cluster {
        write_cluster(f, cluster)?;
    }
    writeln!(f)?;
    match vips {
        None | Some([]) if cluster.as_ref().is_some_and(|cluster| !cluster.synced) => {
            writeln!(
                f,
                "which VIPs are to be announced is not known yet: Services, Nodes and Leases\n\
                 are being read, or a session is being opened"
            )
        }
        None | Some([]) => writeln!(f, "no VIPs are to be announced"),
        Some(vips) if wide => write_wide(f, vips),
        Some(vips) => write_narrow(f, vips),
    }
}

fn write_cluster(f: &mut fmt::Formatter<'_>, cluster: &ClusterStatus) -> fmt::Result {
    let for_so_long = cluster.session_seconds.map(age).unwrap_or_default();
    match &cluster.session {
        Some(session) => writeln!(f, "  session {session}, open for {for_so_long}")?,
        None => writeln!(f, "  no session")?,
    }
    if cluster.session.is_some() {
        let left = cluster.validity_seconds;
        match (left > 0.0, cluster.on_trust) {
            (true, _) => writeln!(f, "  valid for another {left:.1} s")?,
            (false, true) => writeln!(f, "  answering on trust: no renewal entitles it to")?,
            (false, false) => writeln!(f, "  not valid: its last renewal is too old")?,
        }
    }
    match (&cluster.api_error, cluster.api_failing_seconds) {
        (Some(error), Some(seconds)) => {
            writeln!(f, "  API server: failing for {}: {error}", age(seconds))?;
        }
        _ => writeln!(f, "  API server: answers")?,
    }
    let candidacy = match cluster.candidacy.as_deref() {
        Some("candidate") => "may hold VIPs",
        Some("unselected") => {
            "may hold no VIPs: not ready, excluded, or selected by no rule for its interfaces"
        }
        Some("unlinked") => "may hold no VIPs: none of its interfaces works",
        _ => "reading Services and Nodes",
    };
    let draining = if cluster.draining { "; handing everything over" } else { "" };
    writeln!(f, "  {candidacy}{draining}")
}

fn write_narrow(f: &mut fmt::Formatter<'_>, vips: &[VipStatus]) -> fmt::Result {
    let holder = width(vips.iter().map(|vip| vip.holder.as_deref().unwrap_or("-")), 6, 20);
    let room = COLUMNS - 16 - 9 - (holder + 1) - 8 - 8;
    writeln!(
        f,
        "{:<15} {:<8} {:<holder$} {:>7} {:>7} SERVICE",
        "VIP", "STATE", "HOLDER", "SINCE", "PER-SEC"
    )?;
    for vip in vips {
        let name = cut(vip.holder.as_deref().unwrap_or("-"), holder);
        let since = vip.held_seconds.map_or("-".to_owned(), age);
        let rate = vip.answered_per_second.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let services = match &vip.services[..] {
            [] => "-".to_owned(),
            [one] => cut(one, room),
            [one, more @ ..] => format!("{} +{}", cut(one, room.saturating_sub(4)), more.len()),
        };
        writeln!(
            f,
            "{:<15} {:<8} {name:<holder$} {since:>7} {rate:>7} {services}",
            vip.vip, vip.state
        )?;
        if let Some(detail) = detail(vip) {
            writeln!(f, "  {detail}")?;
        }
        if let Some(conflict) = vip.conflict.as_ref().filter(|conflict| conflict.active) {
            writeln!(f, "  conflict: {}", told(conflict))?;
        }
    }
    Ok(())
}

fn write_wide(f: &mut fmt::Formatter<'_>, vips: &[VipStatus]) -> fmt::Result {
    let holder = width(vips.iter().map(|vip| vip.holder.as_deref().unwrap_or("-")), 6, 253);
    let services: Vec<String> = vips
        .iter()
        .map(|vip| if vip.services.is_empty() { "-".to_owned() } else { vip.services.join(",") })
        .collect();
    let service = width(services.iter().map(String::as_str), 8, usize::MAX);
    writeln!(
        f,
        "{:<15} {:<8} {:<holder$} {:>7} {:>10} {:>7} {:<service$} {:<52} DETAIL",
        "VIP", "STATE", "HOLDER", "SINCE", "ANSWERED", "PER-SEC", "SERVICES", "LAST CONFLICT"
    )?;
    for (vip, services) in vips.iter().zip(services) {
        let name = vip.holder.as_deref().unwrap_or("-");
        let since = vip.held_seconds.map_or("-".to_owned(), age);
        let rate = vip.answered_per_second.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let conflict = vip.conflict.as_ref().map_or("-".to_owned(), told);
        let detail = detail(vip).unwrap_or_else(|| "-".to_owned());
        writeln!(
            f,
            "{:<15} {:<8} {name:<holder$} {since:>7} {:>10} {rate:>7} {services:<service$} {conflict:<52} {detail}",
            vip.vip, vip.state, vip.answered
        )?;
    }
    Ok(())
}

fn detail(vip: &VipStatus) -> Option<String> {
    let detail = vip.detail.as_ref()?;
    let until = vip.until_seconds;
    Some(until.map_or(detail.clone(), |until| format!("{detail}, in {until:.1} s")))
}

fn told(conflict: &ConflictStatus) -> String {
    let ConflictStatus { mac, vendor, interface, seconds_ago, .. } = conflict;
    format!("{mac} ({vendor}) on {interface} {} ago", age(*seconds_ago))
}

fn width<'a>(words: impl Iterator<Item = &'a str>, least: usize, most: usize) -> usize {
    words.map(|word| word.chars().count()).max().unwrap_or(0).clamp(least, most)
}

/// No longer than `room`; the end is what is cut off.
fn cut(word: &str, room: usize) -> String {
    if word.chars().count() <= room {
        return word.to_owned();
    }
    word.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// Two units at most: what is longer ago need not be told to the second.
fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time since boot, which is not negative; `as` saturates"
    )]
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if whole < 10 => format!("{seconds:.1}s"),
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{}s", whole % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, said) in [
            (0.04, "0.0s"),
            (9.96, "10.0s"),
            (59.9, "59s"),
            (192.0, "3m12s"),
            (7_260.0, "2h1m"),
            (90_000.0, "1d1h"),
        ] {
            assert_eq!(age(seconds), said);
        }
    }
}
