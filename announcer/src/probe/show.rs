//! Writes what was seen: for people, or as JSON.

use std::{collections::BTreeMap, io, time::Duration};

use serde_json::{Value, json};

use super::{
    Address,
    finding::Finding,
    names::Names,
    watching::{Statement, Summary},
};
use crate::{
    cli::OutputFormat,
    conflict::Vendor,
    exit::Failure,
    output,
    types::{BootTime, Vip},
};

/// Where it is written, and how.
pub(super) struct Show {
    format: OutputFormat,
    is_watching: bool,
    names: Names,
    start: BootTime,
    /// The last thing that stood in the way of asking.
    obstacle: Option<String>,
}

impl Show {
    pub(super) const fn new(
        format: OutputFormat,
        is_watching: bool,
        names: Names,
        start: BootTime,
    ) -> Self {
        Self { format, is_watching, names, start, obstacle: None }
    }

    /// Where it is asked.
    pub(super) fn begin(&self, addresses: &BTreeMap<Vip, Address>) -> Result<(), Failure> {
        if !self.is_for_people() || !self.is_watching {
            return Ok(());
        }
        let place = |(vip, address): (_, &Address)| format!("{vip} on {}", address.place.interface);
        let places: Vec<_> = addresses.iter().map(place).collect();
        print(&format!("asking for {}; Ctrl-C ends it", places.join(", ")))?;
        for (vip, here) in addresses.iter().filter_map(|(vip, it)| Some((vip, it.here.clone()?))) {
            print(&Finding::Here(here).sentence(*vip).unwrap_or_default())?;
        }
        Ok(())
    }

    /// With `--watch` each statement as it comes.
    pub(super) fn say(
        &self,
        vip: Vip,
        statements: &[Statement],
        now: BootTime,
    ) -> Result<(), Failure> {
        if !self.is_watching {
            return Ok(());
        }
        let at = now.since(self.start);
        for statement in statements {
            if self.is_for_people() {
                let text = self.text(statement, now);
                print(&format!("{:9.3} s  {vip}  {text}", at.as_secs_f64()))?;
            } else {
                output::show_next(&self.object(vip, statement, now), self.format)?;
            }
        }
        Ok(())
    }

    /// A question could not be sent; said once for each reason.
    pub(super) fn cannot_ask(
        &mut self,
        vip: Vip,
        error: &io::Error,
        now: BootTime,
    ) -> Result<(), Failure> {
        let text = error.to_string();
        if self.obstacle.as_ref() == Some(&text) {
            return Ok(());
        }
        let at = now.since(self.start).as_secs_f64();
        self.obstacle = Some(text.clone());
        if self.is_for_people() {
            return print(&format!("{at:9.3} s  {vip}  cannot be asked for: {text}"));
        }
        // Without --watch there is one document, of which this is no part.
        if !self.is_watching {
            return Ok(());
        }
        let value = json!({
            "seconds": at, "address": vip.to_string(), "event": "error", "error": text
        });
        output::show_next(&value, self.format)
    }

    fn text(&self, statement: &Statement, now: BootTime) -> String {
        let who = |mac| self.names.describe(mac);
        match *statement {
            Statement::Answered { by, unanswered_for: None } => format!("{} answers", who(by)),
            Statement::Answered { by, unanswered_for: Some(gap) } => {
                format!("{} answers again; nobody answered for {}", who(by), short(gap))
            }
            Statement::Moved { from, to, unanswered_for: Some(gap) } => format!(
                "{} answers instead of {}; nobody answered for {}",
                who(to),
                who(from),
                short(gap)
            ),
            Statement::Moved { from, to, unanswered_for: None } => {
                format!("{} answers instead of {}; no question went unanswered", who(to), who(from))
            }
            Statement::Silent { last: Some(last), since } => format!(
                "nobody answers, for {} now; the last was {}",
                short(now.since(since)),
                who(last)
            ),
            Statement::Silent { last: None, .. } => "nobody answers".to_owned(),
            Statement::Both { first, second } => {
                format!("TWO ANSWER: {} and {}", who(first), who(second))
            }
            Statement::BothOver { left: Some(left), lasted } => {
                format!("only {} answers; two did for {}", who(left), short(lasted))
            }
            Statement::BothOver { left: None, lasted } => {
                format!("neither answers; two did for {}", short(lasted))
            }
            Statement::Announced { by } => {
                format!("{} announces itself (gratuitous ARP)", who(by))
            }
        }
    }

    fn object(&self, vip: Vip, statement: &Statement, now: BootTime) -> Value {
        let (event, mac, other, lasted) = match *statement {
            Statement::Answered { by, unanswered_for } => {
                ("answered", Some(by), None, unanswered_for)
            }
            Statement::Moved { from, to, unanswered_for } => {
                ("moved", Some(to), Some(from), unanswered_for)
            }
            Statement::Silent { last, since } => ("silent", None, last, Some(now.since(since))),
            Statement::Both { first, second } => ("both", Some(second), Some(first), None),
            Statement::BothOver { left, lasted } => ("both-over", left, None, Some(lasted)),
            Statement::Announced { by } => ("announced", Some(by), None, None),
        };
        json!({
            "seconds": seconds(now.since(self.start)),
            "address": vip.to_string(),
            "event": event,
            "mac": mac.map(|mac| mac.to_string()),
            "node": mac.and_then(|mac| self.names.node(mac)).map(ToString::to_string),
            // Who answered before, or answers as well.
            "other": other.map(|mac| mac.to_string()),
            "duration_seconds": lasted.map(seconds),
        })
    }

    /// All of it at the end.
    pub(super) fn end(
        &self,
        all: &BTreeMap<Vip, (&Address, Finding)>,
        now: BootTime,
    ) -> Result<(), Failure> {
        if self.is_for_people() {
            return self.table(all, now);
        }
        let each = all.iter().map(|(vip, (address, finding))| self.summary(*vip, address, finding));
        let each: Vec<Value> = each.collect();
        if !self.is_watching {
            return output::show_value(&each, self.format);
        }
        let value = json!({
            "seconds": seconds(now.since(self.start)), "event": "end", "addresses": each
        });
        output::show_next(&value, self.format)
    }

    const fn is_for_people(&self) -> bool {
        matches!(self.format, OutputFormat::Table | OutputFormat::Wide)
    }

    fn table(
        &self,
        all: &BTreeMap<Vip, (&Address, Finding)>,
        now: BootTime,
    ) -> Result<(), Failure> {
        if self.is_watching {
            print(&format!("in {}:", short(now.since(self.start))))?;
        }
        for (vip, (address, finding)) in all {
            let Summary { asked, unanswered, duplicated, longest_gap, moves, announcements, by } =
                address.watching.summary();
            print(&format!(
                "{vip} on {}: asked {asked} times, unanswered {unanswered}",
                address.place.interface
            ))?;
            for (mac, answers) in by {
                print(&format!(
                    "  {}  answered {} times, within {} to {}, {} on average",
                    self.names.describe(*mac),
                    answers.count,
                    short(answers.least),
                    short(answers.most),
                    short(answers.mean())
                ))?;
            }
            match (by.is_empty(), finding) {
                (true, Finding::Here(_)) => print("  nobody else answered")?,
                (true, _) => print("  nobody answered")?,
                (false, _) => {}
            }
            if *duplicated > 0 {
                print(&format!("  TWO ANSWER: {duplicated} times more than one station answered"))?;
            }
            if *moves > 0 {
                print(&format!("  moved {moves} times"))?;
            }
            if let Some(gap) = longest_gap {
                print(&format!("  longest time without an answer: {}", short(*gap)))?;
            }
            if *announcements > 0 {
                print(&format!("  gratuitous ARP heard: {announcements} times"))?;
            }
            // What is wrong is said last, and not on the same output.
            if let (None, Some(said)) = (finding.code(), finding.sentence(*vip)) {
                print(&format!("  {said}"))?;
            }
        }
        Ok(())
    }

    fn summary(&self, vip: Vip, address: &Address, finding: &Finding) -> Value {
        let Summary { asked, unanswered, duplicated, longest_gap, moves, announcements, by } =
            address.watching.summary();
        let by: Vec<Value> = by
            .iter()
            .map(|(mac, answers)| {
                json!({
                    "mac": mac.to_string(),
                    "vendor": Vendor(*mac).to_string(),
                    "node": self.names.node(*mac).map(ToString::to_string),
                    "answers": answers.count,
                    "latency_seconds": {
                        "min": seconds(answers.least),
                        "mean": seconds(answers.mean()),
                        "max": seconds(answers.most),
                    },
                })
            })
            .collect();
        json!({
            "address": vip.to_string(),
            "interface": address.place.interface,
            "asked": asked,
            "unanswered": unanswered,
            "duplicated": duplicated,
            "moves": moves,
            "longest_gap_seconds": longest_gap.map(seconds),
            "announcements": announcements,
            "answered_by": by,
            // What a probe from here does not see.
            "answered_here": address.here,
            "finding": finding.sentence(vip),
        })
    }
}

/// To the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// To three digits or so.
fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e5 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

fn print(line: &str) -> Result<(), Failure> {
    output::write(format_args!("{line}\n"))
}
