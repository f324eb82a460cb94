//! What a probe saw, as a value: who answered which request, and when. Pure.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::arp::{Mac, Op};

/// Everything that one probe sent and received.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The address that was asked for.
    pub vip: Ipv4Addr,
    /// When the probe began.
    pub from: Instant,
    /// When it ended.
    pub to: Instant,
    /// Every request that went out, in order.
    pub requests: Vec<Request>,
    /// Every gratuitous ARP for the VIP, in order.
    pub announcements: Vec<Announcement>,
    /// Requests that were due and not sent, because the machine stalled for longer
    /// than the probe makes up for. They are nobody's fault and count as nothing else.
    pub skipped: u64,
    /// Requests that the client's own interface refused (it was down).
    pub refused: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Just before it was given to the kernel.
    pub sent: Instant,
    /// Every answer to it, in order of arrival.
    pub answers: Vec<Answer>,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The ARP sender hardware address.
    pub mac: Mac,
    /// When the client's kernel received it.
    pub at: Instant,
    /// When the request was sent that it answers.
    pub sent: Instant,
}

impl Answer {
    /// Time from request to answer.
    pub fn latency(&self) -> Duration {
        self.at.saturating_duration_since(self.sent)
    }
}

/// One gratuitous ARP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whose address it says the VIP has.
    pub mac: Mac,
    /// The form: request or reply.
    pub op: Op,
    /// When the client's kernel received it.
    pub at: Instant,
}

/// A run of requests that nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first of them was sent.
    pub from: Instant,
    /// When the next answered request was sent; the recording's end when there is none.
    pub to: Instant,
    /// How many they are.
    pub requests: usize,
}

/// A run of requests that more than one station answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// When the first of them was sent.
    pub from: Instant,
    /// When the next request with one answer or none was sent; the recording's end
    /// when there is none.
    pub to: Instant,
    /// How many they are.
    pub requests: usize,
    /// Everybody who answered one of them.
    pub macs: Vec<Mac>,
}

/// When and how often one station answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The first answer.
    pub first: Answer,
    /// The last answer.
    pub last: Answer,
    /// How many requests it answered.
    pub requests: usize,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// How many answers.
    pub answers: usize,
    /// The quickest.
    pub min: Duration,
    /// Half took no longer.
    pub median: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Request {
    /// Whether `mac` answered.
    pub fn answered_by(&self, mac: Mac) -> bool {
        self.answers.iter().any(|answer| answer.mac == mac)
    }

    /// Whether more than one station answered.
    pub fn contested(&self) -> bool {
        let first = self.answers.first().map(|answer| answer.mac);
        self.answers.iter().any(|answer| Some(answer.mac) != first)
    }
}

impl Recording {
    /// Requests that nobody answered.
    pub fn unanswered(&self) -> usize {
        self.requests.iter().filter(|request| request.answers.is_empty()).count()
    }

    /// Requests that more than one station answered.
    pub fn contested(&self) -> usize {
        self.requests.iter().filter(|request| request.contested()).count()
    }

    /// Requests that one station answered more than once.
    pub fn duplicated(&self) -> usize {
        let twice = |request: &&Request| {
            let answers = &request.answers;
            answers
                .iter()
                .enumerate()
                .any(|(i, a)| answers.iter().skip(i + 1).any(|b| a.mac == b.mac))
        };
        self.requests.iter().filter(twice).count()
    }

    /// Every run of unanswered requests, in order.
    pub fn gaps(&self) -> Vec<Gap> {
        let dark = self.runs(|request| request.answers.is_empty());
        dark.map(|(from, to, run)| Gap { from, to, requests: run.len() }).collect()
    }

    /// The gap that took longest.
    pub fn longest_gap(&self) -> Option<Gap> {
        self.gaps().into_iter().max_by_key(|gap| gap.to.saturating_duration_since(gap.from))
    }

    /// Every run of requests with more than one answerer, in order.
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.runs(Request::contested)
            .map(|(from, to, run)| {
                let answers = run.iter().flat_map(|request| &request.answers);
                let mut macs: Vec<_> = answers.map(|answer| answer.mac).collect();
                macs.sort_unstable();
                macs.dedup();
                Overlap { from, to, requests: run.len(), macs }
            })
            .collect()
    }

    /// Everybody who answered, by MAC.
    pub fn answerers(&self) -> BTreeMap<Mac, Answered> {
        let mut answerers = BTreeMap::<Mac, Answered>::new();
        for request in &self.requests {
            for (i, &answer) in request.answers.iter().enumerate() {
                let again = request.answers.iter().take(i).any(|a| a.mac == answer.mac);
                let entry = answerers.entry(answer.mac).or_insert(Answered {
                    first: answer,
                    last: answer,
                    requests: 0,
                });
                entry.last = answer;
                entry.requests += usize::from(!again);
            }
        }
        answerers
    }

    /// How long the first answer to each request took; `None` without any answer.
    pub fn latency(&self) -> Option<Latency> {
        let first = |request: &Request| request.answers.first().map(Answer::latency);
        let mut all: Vec<_> = self.requests.iter().filter_map(first).collect();
        all.sort_unstable();
        let rank =
            |percent: usize| all.get((all.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Latency {
            answers: all.len(),
            min: *all.first()?,
            median: rank(50)?,
            p99: rank(99)?,
            max: *all.last()?,
        })
    }

    /// The part from `from` up to `to`, by sending time.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        let within = |at: Instant| from <= at && at < to;
        Self {
            from,
            to,
            requests: self.requests.iter().filter(|r| within(r.sent)).cloned().collect(),
            announcements: self.announcements.iter().filter(|a| within(a.at)).copied().collect(),
            ..*self
        }
    }

    /// Maximal runs of requests of which `is` holds: sending time of the first, sending
    /// time of the request after the last, and the requests.
    fn runs(
        &self,
        is: impl Fn(&Request) -> bool,
    ) -> impl Iterator<Item = (Instant, Instant, &[Request])> {
        let same = {
            let is = &is;
            move |a: &Request, b: &Request| is(a) == is(b)
        };
        let mut runs = Vec::new();
        let mut start = 0;
        for run in self.requests.chunk_by(same) {
            let end = start + run.len();
            if let Some(first) = run.first().filter(|first| is(first)) {
                let to = self.requests.get(end).map_or(self.to, |next| next.sent);
                runs.push((first.sent, to, run));
            }
            start = end;
        }
        runs.into_iter()
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Recordings out of a line of text.

    use super::*;

    pub(crate) const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    pub(crate) const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    /// One request per letter, `period` apart: `a` and `b` answered by that station, `x`
    /// by both, `d` by the first one twice, `-` by nobody. Answers take 50 µs and more.
    pub(crate) fn recording(period: Duration, script: &str) -> Recording {
        let from = Instant::now();
        let at = |n: usize| from + period * u32::try_from(n).expect("a short script");
        let request = |(n, letter)| {
            let answer = |i: usize, mac| {
                let late = Duration::from_micros(50 * (i as u64 + 1));
                Answer { mac, at: at(n) + late, sent: at(n) }
            };
            let macs: &[Mac] = match letter {
                'a' => &[A],
                'b' => &[B],
                'x' => &[A, B],
                'd' => &[A, A],
                '-' => &[],
                other => unreachable!("{other} in a script"),
            };
            let answers = macs.iter().enumerate().map(|(i, &mac)| answer(i, mac)).collect();
            Request { sent: at(n), answers }
        };
        Recording {
            vip: Ipv4Addr::new(192, 0, 2, 10),
            from,
            to: at(script.len()),
            requests: script.chars().enumerate().map(request).collect(),
            announcements: Vec::new(),
            skipped: 0,
            refused: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        fixture::{A, B, recording},
        *,
    };

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn gaps_and_overlaps_are_runs_of_requests() {
        type Runs = &'static [(u32, u32)];
        let cases: [(&str, Runs, Runs); 6] = [
            ("aaaa", &[], &[]),
            ("aa--bb", &[(2, 4)], &[]),
            ("-aa-b--", &[(0, 1), (3, 4), (5, 7)], &[]),
            ("aaxxbb", &[], &[(2, 4)]),
            ("ax-xb", &[(2, 3)], &[(1, 2), (3, 4)]),
            ("---", &[(0, 3)], &[]),
        ];
        for (script, gaps, overlaps) in cases {
            let r = recording(MS, script);
            let ms = |at: Instant| u32::try_from((at - r.from).as_millis()).expect("short");
            let seen: Vec<_> = r.gaps().iter().map(|g| (ms(g.from), ms(g.to))).collect();
            assert_eq!(seen, gaps, "{script}");
            let seen: Vec<_> = r.overlaps().iter().map(|o| (ms(o.from), ms(o.to))).collect();
            assert_eq!(seen, overlaps, "{script}");
        }
    }

    #[test]
    fn counts_agree_with_the_script() {
        let r = recording(MS, "aad-xb--bb");
        assert_eq!((r.unanswered(), r.contested(), r.duplicated()), (3, 1, 1));
        assert_eq!(r.longest_gap().map(|gap| gap.requests), Some(2));
        assert_eq!(r.overlaps()[0].macs, [A, B]);
        let answerers = r.answerers();
        assert_eq!((answerers[&A].requests, answerers[&B].requests), (4, 4));
        assert_eq!(answerers[&B].first.sent, r.requests[4].sent);
        assert_eq!(answerers[&B].last.sent, r.requests[9].sent);
    }

    #[test]
    fn latency_is_that_of_first_answers() {
        assert_eq!(recording(MS, "--").latency(), None);
        let latency = recording(MS, "ax-").latency().expect("two answers");
        assert_eq!(latency.answers, 2);
        assert_eq!((latency.min, latency.max), (latency.median, latency.p99));
    }

    #[test]
    fn a_part_keeps_its_own_bounds() {
        let r = recording(MS, "aa--bb");
        let part = r.between(r.from + MS, r.from + 3 * MS);
        assert_eq!(part.requests.len(), 2);
        assert_eq!(part.gaps()[0].to, part.to);
    }
}
