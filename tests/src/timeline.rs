//! Draws who answered when: one row per node, gaps and overlaps to scale. Pure.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use crate::{
    arp::{Mac, Op},
    recording::{Overlap, Recording, Request},
};

/// More gaps, overlaps or events than this are counted, not listed.
const LISTED: usize = 8;
const MIN_COLUMNS: usize = 20;

/// What to draw.
#[derive(Clone, Debug)]
pub struct Timeline<'a> {
    /// Where the answers come from; its beginning is second 0.
    pub recording: &'a Recording,
    /// A label and a MAC for each row. Whoever else answered gets a row with its MAC.
    pub rows: Vec<(String, Mac)>,
    /// What was done to the nodes. Gratuitous ARPs are marked `G` without being listed here.
    pub events: Vec<Event>,
}

/// Something that happened at one instant.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// In whose row it is marked; `None` is above all rows.
    pub mac: Option<Mac>,
    /// Its mark, e.g. `K` for killed.
    pub mark: char,
    /// What it was, for the list below.
    pub text: String,
}

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Width in columns, labels included.
    pub width: usize,
    /// ANSI colours.
    pub colour: bool,
    /// Block characters instead of ASCII.
    pub unicode: bool,
}

impl Style {
    /// For standard output: colours and its width if it is a terminal, else plain text
    /// 100 columns wide. NO_COLOR (no-color.org) turns colours off; a locale without
    /// UTF-8 turns block characters off.
    pub fn of_stdout() -> Self {
        use std::{env, io::IsTerminal};
        let terminal = std::io::stdout().is_terminal();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_lowercase();
        Self {
            width: terminal_width().filter(|_| terminal).unwrap_or(100),
            colour: terminal && !no_colour,
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}

/// What happened in one column of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// No request was sent.
    Unknown,
    /// It holds of no request.
    None,
    /// It holds of some.
    Some,
    /// It holds of all.
    All,
}

/// Draws the timeline as lines of text, each ended by a newline. The drawing keeps to
/// the width; the list below it does not.
pub fn render(timeline: &Timeline<'_>, style: Style) -> String {
    let recording = timeline.recording;
    let rows = rows(timeline);
    let labels = rows.iter().map(|(label, _)| label.chars().count());
    let margin = labels.max().unwrap_or(0).max("overlaps".len()) + 1;
    // A column without a request would say nothing.
    let room = style.width.saturating_sub(margin).max(MIN_COLUMNS);
    let scale = Scale {
        from: recording.from,
        span: recording.to.saturating_duration_since(recording.from).max(Duration::from_nanos(1)),
        columns: room.min(recording.requests.len()).max(1),
    };
    let columns = scale.split(&recording.requests);
    let mut out = heading(recording, scale);

    let marks = |mac: Option<Mac>| {
        let events = timeline.events.iter().filter(move |event| event.mac == mac);
        let events = events.map(|event| (event.at, event.mark));
        let own = recording.announcements.iter().filter(move |a| Some(a.mac) == mac);
        // Events last: a `K` is not hidden by a `G`.
        own.map(|a| (a.at, 'G')).chain(events).collect::<Vec<_>>()
    };
    let paint = Paint { style, scale, margin };
    let above = marks(None);
    if !above.is_empty() {
        paint.row(&mut out, "", None, &vec![Cell::Unknown; scale.columns], &above);
    }
    for (i, (label, mac)) in rows.iter().enumerate() {
        let cells = cells(&columns, |request| request.answered_by(*mac));
        paint.row(&mut out, label, Some(i), &cells, &marks(Some(*mac)));
    }
    let gaps = cells(&columns, |request| request.answers.is_empty());
    paint.faults(&mut out, "gaps", &gaps);
    let overlaps = cells(&columns, Request::contested);
    paint.faults(&mut out, "overlaps", &overlaps);
    paint.axis(&mut out);
    legend(&mut out, timeline, &rows);
    out
}

/// A duration as a person reads it: three digits or so, with its unit.
pub fn human(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        1000.0.. => format!("{:.2} s", ms / 1e3),
        100.0.. => format!("{ms:.0} ms"),
        1.0.. => {
            let text = format!("{ms:.1}");
            format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => format!("{:.0} us", ms * 1e3),
    }
}

fn rows(timeline: &Timeline<'_>) -> Vec<(String, Mac)> {
    let mut rows = timeline.rows.clone();
    for mac in timeline.recording.answerers().into_keys() {
        if rows.iter().all(|(_, known)| *known != mac) {
            rows.push((mac.to_string(), mac));
        }
    }
    rows
}

fn cells(columns: &[&[Request]], holds: impl Fn(&Request) -> bool) -> Vec<Cell> {
    let cell = |requests: &&[Request]| match (
        requests.iter().filter(|request| holds(request)).count(),
        requests.len(),
    ) {
        (_, 0) => Cell::Unknown,
        (0, _) => Cell::None,
        (some, all) if some < all => Cell::Some,
        _ => Cell::All,
    };
    columns.iter().map(cell).collect()
}

/// From instants to columns.
#[derive(Clone, Copy, Debug)]
struct Scale {
    from: Instant,
    span: Duration,
    columns: usize,
}

impl Scale {
    fn column(self, at: Instant) -> usize {
        let part = at.saturating_duration_since(self.from).as_secs_f64() / self.span.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and saturates"
        )]
        let column = (part * self.columns as f64) as usize;
        column.min(self.columns - 1)
    }

    fn per_column(self) -> Duration {
        self.span.div_f64(self.columns as f64)
    }

    /// The requests of each column; they are in the order of their sending.
    fn split(self, requests: &[Request]) -> Vec<&[Request]> {
        let mut rest = requests;
        let mut columns = Vec::with_capacity(self.columns);
        for column in 0..self.columns {
            let (these, others) =
                rest.split_at(rest.partition_point(|r| self.column(r.sent) <= column));
            columns.push(these);
            rest = others;
        }
        columns
    }
}

fn heading(recording: &Recording, scale: Scale) -> String {
    let (vip, sent) = (recording.vip, recording.requests.len());
    let mut out = format!(
        "{vip}: {sent} requests in {}, one column is {}\n",
        human(scale.span),
        human(scale.per_column())
    );
    if recording.skipped + recording.refused > 0 {
        let (skipped, refused) = (recording.skipped, recording.refused);
        let _ = writeln!(
            out,
            "not asked: {skipped} times because this machine stalled, {refused} times because \
             the client's interface was down"
        );
    }
    out
}

/// Appends rows to a drawing.
struct Paint {
    style: Style,
    scale: Scale,
    margin: usize,
}

impl Paint {
    /// Colours of the rows in turn; red is for faults.
    const ROWS: [&str; 5] = ["32", "36", "33", "35", "34"];
    const FAULT: &str = "31";
    const MARK: &str = "1";

    fn row(
        &self,
        out: &mut String,
        label: &str,
        number: Option<usize>,
        cells: &[Cell],
        marks: &[(Instant, char)],
    ) {
        let colour = number.and_then(|n| Self::ROWS.get(n % Self::ROWS.len())).unwrap_or(&"");
        let cells = cells.iter().map(|&cell| {
            let (ascii, block) = match cell {
                Cell::Unknown => (' ', ' '),
                Cell::None => ('.', '·'),
                Cell::Some => ('+', '▒'),
                Cell::All => ('#', '█'),
            };
            let colour = if matches!(cell, Cell::Some | Cell::All) { colour } else { "" };
            (if self.style.unicode { block } else { ascii }, colour)
        });
        let mut cells: Vec<_> = cells.collect();
        for &(at, mark) in marks {
            if let Some(cell) = cells.get_mut(self.scale.column(at)) {
                *cell = (mark, Self::MARK);
            }
        }
        self.line(out, label, &cells);
    }

    /// Where something was wrong: a full mark where all of a column's requests were
    /// concerned, a thin one where at least one was.
    fn faults(&self, out: &mut String, label: &str, cells: &[Cell]) {
        let cells = cells.iter().map(|cell| match cell {
            Cell::Unknown | Cell::None => (' ', ""),
            Cell::Some => ('!', Self::FAULT),
            Cell::All => ('X', Self::FAULT),
        });
        self.line(out, label, &cells.collect::<Vec<_>>());
    }

    fn line(&self, out: &mut String, label: &str, cells: &[(char, &str)]) {
        let mut line = format!("{label:<0$}", self.margin);
        for run in cells.chunk_by(|a, b| a.1 == b.1) {
            let colour = run.first().map_or("", |(_, colour)| *colour);
            let text: String = run.iter().map(|(c, _)| c).collect();
            if self.style.colour && !colour.is_empty() {
                let _ = write!(line, "\x1b[{colour}m{text}\x1b[0m");
            } else {
                line += &text;
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }

    /// Ticks at round numbers of seconds, at least ten columns apart.
    fn axis(&self, out: &mut String) {
        const APART: f64 = 10.0;
        let span = self.scale.span.as_secs_f64();
        let per_column = self.scale.per_column().as_secs_f64();
        let mut step = 1e-3;
        for factor in [2.0, 2.5, 2.0].iter().cycle() {
            if step >= per_column * APART {
                break;
            }
            step *= factor;
        }
        let decimals = if step >= 1.0 {
            0
        } else if step >= 0.1 {
            1
        } else {
            3
        };
        let mut line = String::new();
        let mut tick = 0.0;
        while tick <= span {
            let column = self.scale.column(self.scale.from + Duration::from_secs_f64(tick));
            let label = format!("|{tick:.decimals$}");
            if tick > 0.0 && column + label.len() + " s".len() > self.scale.columns {
                break;
            }
            line = format!("{line:<column$}{label}");
            tick += step;
        }
        let _ = writeln!(out, "{:1$}{line} s", "", self.margin);
    }
}

fn legend(out: &mut String, timeline: &Timeline<'_>, rows: &[(String, Mac)]) {
    let recording = timeline.recording;
    let since = |at: Instant| at.saturating_duration_since(recording.from).as_secs_f64();
    let name = |mac: Mac| {
        let row = rows.iter().find(|(_, known)| *known == mac);
        row.map_or_else(|| mac.to_string(), |(label, _)| label.clone())
    };
    let mut events: Vec<(Instant, String)> = timeline
        .events
        .iter()
        .map(|event| {
            let whose = event.mac.map(|mac| format!("{}: ", name(mac))).unwrap_or_default();
            (event.at, format!("{}  {:8.3} s  {whose}{}", event.mark, since(event.at), event.text))
        })
        .collect();
    let mut announcers: Vec<_> = recording.announcements.iter().map(|a| a.mac).collect();
    announcers.sort_unstable();
    announcers.dedup();
    for mac in announcers {
        let own = || recording.announcements.iter().filter(move |a| a.mac == mac);
        let Some(first) = own().next() else { continue };
        let requests = own().filter(|a| a.op == Op::Request).count();
        let replies = own().count() - requests;
        let (at, name) = (since(first.at), name(mac));
        let text = format!(
            "G  {at:8.3} s  {name}: gratuitous ARP, {requests} as request and {replies} as reply"
        );
        events.push((first.at, text));
    }
    events.sort_by_key(|(at, _)| *at);
    list(out, events.into_iter().map(|(_, text)| text).collect(), "events");

    let span = |from: Instant, to: Instant, requests: usize| {
        let took = human(to.saturating_duration_since(from));
        format!("{:.3} s to {:.3} s: {took}, {requests} requests", since(from), since(to))
    };
    let (gaps, overlaps) = (recording.gaps(), recording.overlaps());
    let longest =
        recording.longest_gap().map(|gap| human(gap.to.saturating_duration_since(gap.from)));
    let longest = longest.map(|longest| format!(", longest gap {longest}")).unwrap_or_default();
    let _ = writeln!(out, "unanswered: {}{longest}", recording.unanswered());
    list(
        out,
        gaps.iter().map(|g| "!  ".to_owned() + &span(g.from, g.to, g.requests)).collect(),
        "gaps",
    );
    let _ = writeln!(out, "answered by more than one node: {}", recording.contested());
    let overlap = |o: &Overlap| {
        let who: Vec<_> = o.macs.iter().map(|&mac| name(mac)).collect();
        format!("!  {} by {}", span(o.from, o.to, o.requests), who.join(" and "))
    };
    list(out, overlaps.iter().map(overlap).collect(), "overlaps");
}

fn list(out: &mut String, lines: Vec<String>, what: &str) {
    for line in lines.iter().take(LISTED) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(more) = lines.len().checked_sub(LISTED).filter(|&more| more > 0) {
        let _ = writeln!(out, "  and {more} more {what}");
    }
}

fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) } == 0;
    (known && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests;
