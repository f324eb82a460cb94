//! What an API server was asked for, and what its watches delivered, in a span of time.

use std::{collections::BTreeMap, time::Instant};

use announcer_apiserver::{Audit, Match};

/// Counts since the server's start.
#[derive(Debug)]
pub(super) struct Traffic {
    at: Instant,
    /// By verb and resource.
    requests: BTreeMap<String, u64>,
    /// Delivered by watches, bookmarks included.
    events: u64,
}

/// Per second.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates {
    /// By verb and resource, the most frequent first.
    pub(super) requests: Vec<(String, f64)>,
    pub(super) events: f64,
}

impl Traffic {
    pub(super) fn of(audit: &Audit) -> Self {
        let mut requests = BTreeMap::new();
        for (_, verb, resource, count) in audit.totals() {
            let resource = resource.map_or_else(|| "other".to_owned(), |r| r.plural().to_owned());
            *requests.entry(format!("{verb} {resource}")).or_default() += count;
        }
        Self { at: Instant::now(), requests, events: audit.events(&Match::any()) }
    }

    /// What came since `before`.
    pub(super) fn since(&self, before: &Self) -> Rates {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let then = |kind: &str| before.requests.get(kind).copied().unwrap_or(0);
        let rates = self.requests.iter().map(|(kind, &now)| (kind.clone(), rate(now, then(kind))));
        let mut requests: Vec<_> = rates.filter(|(_, rate)| *rate > 0.0).collect();
        requests.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Rates { requests, events: rate(self.events, before.events) }
    }
}

impl Rates {
    /// Of all kinds.
    pub(super) fn all(&self) -> f64 {
        self.of(|_| true)
    }

    /// Of one verb of one resource.
    pub(super) fn of_kind(&self, kind: &str) -> f64 {
        self.of(|k| k == kind)
    }

    fn of(&self, kind: impl Fn(&str) -> bool) -> f64 {
        let rates = self.requests.iter().filter(|(k, _)| kind(k));
        // Not `sum`: that of nothing is -0.
        rates.fold(0.0, |sum, (_, rate)| sum + rate)
    }

    /// Each kind, for a person.
    pub(super) fn list(&self) -> String {
        let kinds = self.requests.iter().map(|(kind, rate)| format!("{kind} {rate:.2}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_of_what_came_in_between() {
        let counts = |counts: &[(&str, u64)]| {
            counts.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect()
        };
        let at = Instant::now();
        let before = Traffic { at, requests: counts(&[("list nodes", 3)]), events: 10 };
        let after = Traffic {
            at: at + Duration::from_secs(2),
            requests: counts(&[("list nodes", 3), ("update leases", 6), ("watch nodes", 1)]),
            events: 20,
        };
        let rates = after.since(&before);
        assert_eq!(rates.list(), "update leases 3.00, watch nodes 0.50");
        assert_eq!((rates.all(), rates.of_kind("update leases"), rates.events), (3.5, 3.0, 5.0));
    }
}
