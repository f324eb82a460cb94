//! From questions and answers with their times to what can be said of them: pure.
//!
//! An answer does not name its question, so it counts for the latest one. Two stations that
//! answer one question answer both; one that answers the next question instead of the
//! former has taken over.

use std::{collections::BTreeMap, time::Duration};

use crate::types::{BootTime, MacAddr};

/// What there is to say, at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The first answer of all, or after silence.
    Answered {
        /// By whom.
        by: MacAddr,
        /// Since the last answer of whoever; `None`: it is the first.
        unanswered_for: Option<Duration>,
    },
    /// Another station answers.
    Moved {
        /// Who answered until now.
        from: MacAddr,
        /// Who answers.
        to: MacAddr,
        /// From the last answer of the one to the first of the other; `None`: no question
        /// in between went unanswered.
        unanswered_for: Option<Duration>,
    },
    /// So long without an answer; said once.
    Silent {
        /// Who answered last; `None`: nobody ever has.
        last: Option<MacAddr>,
        /// Since its last answer, or since the first question.
        since: BootTime,
    },
    /// Two stations answered one question.
    Both {
        /// Who answered first.
        first: MacAddr,
        /// Who answered, too.
        second: MacAddr,
    },
    /// Only one has answered a whole question again.
    BothOver {
        /// Who is left.
        left: Option<MacAddr>,
        /// From the first answer that was one too many to the last.
        lasted: Duration,
    },
    /// A gratuitous ARP was heard: a station tells everybody that it has the address.
    Announced {
        /// Which.
        by: MacAddr,
    },
}

/// Who answered how often, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// How often.
    pub count: u64,
    /// The quickest.
    pub least: Duration,
    /// The slowest.
    pub most: Duration,
    /// All together.
    pub total: Duration,
}

impl Answers {
    /// The mean.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count.max(1)).map_or(Duration::ZERO, |count| self.total / count)
    }
}

/// All that was seen of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Questions whose time is over.
    pub asked: u64,
    /// Of those, how many nobody answered.
    pub unanswered: u64,
    /// Of those, how many two or more stations answered.
    pub duplicated: u64,
    /// The longest time from one answer to the next, of whoever, with an unanswered question
    /// in between; `None`: there was none.
    pub longest_gap: Option<Duration>,
    /// How often another station answered than before.
    pub moves: u64,
    /// Gratuitous ARP frames.
    pub announcements: u64,
    /// Who answered.
    pub by: BTreeMap<MacAddr, Answers>,
}

/// One address that is asked for again and again.
#[derive(Clone, Debug)]
pub struct Watching {
    /// So long without an answer is silence.
    patience: Duration,
    first_asked: Option<BootTime>,
    round: Option<Round>,
    /// Who answers, by the last question that only one or none answered.
    holder: Option<MacAddr>,
    /// The last answer, of whoever.
    heard: Option<BootTime>,
    /// Silence has been said.
    is_silent: bool,
    /// Questions in a row that nobody answered.
    missed: u64,
    both: Option<Both>,
    summary: Summary,
}

/// The question that is open.
#[derive(Clone, Debug)]
struct Round {
    asked: BootTime,
    /// Each station once, in the order of their answers.
    by: Vec<MacAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Both {
    since: BootTime,
    last: BootTime,
}

impl Watching {
    /// With so much time for an answer.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            first_asked: None,
            round: None,
            holder: None,
            heard: None,
            is_silent: false,
            missed: 0,
            both: None,
            summary: Summary::default(),
        }
    }

    /// A question goes out at `now`; the one before is over.
    pub fn asked(&mut self, now: BootTime) -> Vec<Statement> {
        let statements = self.close(now);
        self.first_asked.get_or_insert(now);
        self.round = Some(Round { asked: now, by: Vec::new() });
        statements
    }

    /// Nobody will be asked any more, and there was time for the last answer.
    pub fn close(&mut self, now: BootTime) -> Vec<Statement> {
        let Some(round) = self.round.take() else { return Vec::new() };
        self.summary.asked += 1;
        let mut statements = Vec::new();
        if round.by.len() < 2
            && let Some(Both { since, last }) = self.both.take()
        {
            let left = round.by.first().copied();
            statements.push(Statement::BothOver { left, lasted: last.since(since) });
        }
        if round.by.is_empty() {
            self.summary.unanswered += 1;
            self.missed += 1;
            statements.extend(self.silence(now));
        }
        self.summary.duplicated += u64::from(round.by.len() >= 2);
        statements
    }

    fn silence(&mut self, now: BootTime) -> Option<Statement> {
        let since = self.heard.or(self.first_asked)?;
        let was_silent = self.is_silent;
        self.is_silent = now.since(since) >= self.patience;
        let is_new = self.is_silent && !was_silent;
        is_new.then_some(Statement::Silent { last: self.holder, since })
    }

    /// A station says, asked, that it has the address.
    pub fn answered(&mut self, by: MacAddr, now: BootTime) -> Vec<Statement> {
        // Before anybody was asked it answers somebody else.
        let Some(round) = &mut self.round else { return Vec::new() };
        if round.by.contains(&by) {
            return Vec::new();
        }
        let took = now.since(round.asked);
        let entry = self.summary.by.entry(by);
        let none = Answers { count: 0, least: took, most: took, total: Duration::ZERO };
        let answers = entry.or_insert(none);
        answers.count += 1;
        answers.least = answers.least.min(took);
        answers.most = answers.most.max(took);
        answers.total += took;

        let first = round.by.first().copied();
        round.by.push(by);
        let heard = self.heard.replace(now);
        if let Some(first) = first {
            return self.doubly_answered(first, by, now).into_iter().collect();
        }
        let gap = heard.filter(|_| self.missed > 0).map(|heard| now.since(heard));
        self.missed = 0;
        self.summary.longest_gap = self.summary.longest_gap.max(gap);
        let was_silent = std::mem::take(&mut self.is_silent);
        match self.holder.replace(by) {
            None => vec![Statement::Answered { by, unanswered_for: None }],
            Some(from) if from != by => {
                self.summary.moves += 1;
                vec![Statement::Moved { from, to: by, unanswered_for: gap }]
            }
            Some(_) if was_silent => vec![Statement::Answered { by, unanswered_for: gap }],
            Some(_) => Vec::new(),
        }
    }

    fn doubly_answered(
        &mut self,
        first: MacAddr,
        second: MacAddr,
        now: BootTime,
    ) -> Option<Statement> {
        let is_new = self.both.is_none();
        let both = self.both.get_or_insert(Both { since: now, last: now });
        both.last = now;
        is_new.then_some(Statement::Both { first, second })
    }

    /// A gratuitous ARP was heard.
    pub fn announced(&mut self, by: MacAddr) -> Statement {
        self.summary.announcements += 1;
        Statement::Announced { by }
    }

    /// All until now.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }
}

#[cfg(test)]
mod tests;
