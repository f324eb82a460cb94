//! The lines that a person reads: when, who, what.

use std::{fmt::Write, time::Instant};

use announcer_tests::timeline::Style;

/// Lines are at most this wide, however wide the terminal is.
const MAX_WIDTH: usize = 100;
/// `  12.345 s  `
const TIME: usize = 12;
/// Room for who.
const SUBJECT: usize = 12;

/// Prints lines as things happen, with times since the beginning.
#[derive(Debug)]
pub(crate) struct Story {
    began: Instant,
    style: Style,
    width: usize,
}

impl Story {
    pub(crate) fn begin(style: Style) -> Self {
        // Narrower, the columns themselves would not fit.
        let width = style.width.clamp(60, MAX_WIDTH);
        Self { began: Instant::now(), style, width }
    }

    pub(crate) fn style(&self) -> Style {
        Style { width: self.width, ..self.style }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("{}", self.bold(text));
    }

    /// A new part of the story.
    pub(crate) fn part(&self, text: &str) {
        println!("\n{}", self.bold(text));
    }

    /// `subject` did, or is, `text`, as of now.
    pub(crate) fn tell(&self, subject: &str, text: &str) {
        self.tell_at(Instant::now(), subject, text);
    }

    /// `subject` did `text` at that time.
    pub(crate) fn tell_at(&self, at: Instant, subject: &str, text: &str) {
        let since = at.saturating_duration_since(self.began).as_secs_f64();
        let head = format!("{since:8.3} s  {}", self.bold(&format!("{subject:<SUBJECT$}")));
        self.lines(&head, text);
    }

    /// A line of a summary, without a time.
    pub(crate) fn note(&self, subject: &str, text: &str) {
        let head = format!("  {subject:<width$}", width = TIME + SUBJECT - 2);
        self.lines(&head, text);
    }

    /// Text that is laid out already.
    pub(crate) fn verbatim(&self, text: &str) {
        println!("{}", text.trim_end());
    }

    fn lines(&self, head: &str, text: &str) {
        let mut out = head.to_owned();
        let indent = TIME + SUBJECT;
        for (i, line) in wrap(text, self.width - indent).iter().enumerate() {
            if i > 0 {
                let _ = write!(out, "\n{:indent$}", "");
            }
            out += line;
        }
        println!("{}", out.trim_end());
    }

    fn bold(&self, text: &str) -> String {
        if self.style.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Breaks a text between words, so that no line is wider than `width` unless a single
/// word is.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_break_between_words() {
        for (text, width, expected) in [
            ("", 5, vec![""]),
            ("a bc def", 8, vec!["a bc def"]),
            ("a bc def", 7, vec!["a bc", "def"]),
            ("a toolongaword b", 5, vec!["a", "toolongaword", "b"]),
        ] {
            assert_eq!(wrap(text, width), expected, "{text:?} in {width}");
        }
    }
}
