use super::*;
use crate::recording::{
    Announcement,
    fixture::{A, B, recording},
};

const MS: Duration = Duration::from_millis(1);
const PLAIN: Style = Style { width: 89, colour: false, unicode: false };

fn timeline(recording: &Recording) -> Timeline<'_> {
    let rows = vec![("node-1".to_owned(), A), ("node-2".to_owned(), B)];
    Timeline { recording, rows, events: Vec::new() }
}

/// The cells of the row with this label, from the first column on.
fn row<'a>(drawing: &'a str, label: &str) -> &'a str {
    let line = drawing.lines().find(|line| line.starts_with(label));
    line.expect("the row is drawn").get(9..).unwrap_or("")
}

#[test]
fn each_row_shows_who_answered_when() {
    let cases = [
        // script, node-1, node-2, gaps, overlaps; one request per column
        ("aaaabbbb", "####....", "....####", "", ""),
        ("aa----bb", "##......", "......##", "  XXXX", ""),
        ("aaaxxbbb", "#####...", "...#####", "", "   XX"),
        ("--------", "........", "........", "XXXXXXXX", ""),
    ];
    for (script, one, two, gaps, overlaps) in cases {
        let r = recording(MS, script);
        let drawing = render(&timeline(&r), PLAIN);
        assert_eq!(row(&drawing, "node-1"), one, "{script}\n{drawing}");
        assert_eq!(row(&drawing, "node-2"), two, "{script}\n{drawing}");
        assert_eq!(row(&drawing, "gaps"), gaps, "{script}\n{drawing}");
        assert_eq!(row(&drawing, "overlaps"), overlaps, "{script}\n{drawing}");
    }
}

#[test]
fn ten_milliseconds_in_ten_seconds_are_seen_and_named() {
    let script = "a".repeat(4000) + &"-".repeat(10) + &"b".repeat(5990);
    let r = recording(MS, &script);
    let drawing = render(&timeline(&r), PLAIN);
    // 80 columns of 125 ms: 4.000 s to 4.010 s is in column 32.
    let gaps = row(&drawing, "gaps");
    assert_eq!((gaps.len(), gaps.find('!')), (33, Some(32)), "{drawing}");
    assert_eq!(row(&drawing, "node-1").len(), 80);
    assert_eq!(row(&drawing, "node-2").find('+'), Some(32), "{drawing}");
    assert!(drawing.contains("4.000 s to 4.010 s: 10 ms, 10 requests"), "{drawing}");
    assert!(drawing.contains("unanswered: 10, longest gap 10 ms"), "{drawing}");
}

#[test]
fn lengths_are_to_scale() {
    // 10 s at 1 kHz in 80 columns: a gap of 2.5 s is 20 columns, at any place.
    for start in [0, 1000, 3125, 7500] {
        let script = "a".repeat(start) + &"-".repeat(2500) + &"b".repeat(10_000 - 2500 - start);
        let drawing = render(&timeline(&recording(MS, &script)), PLAIN);
        let gaps = row(&drawing, "gaps");
        assert_eq!(gaps.matches('X').count(), 20, "from {start}\n{drawing}");
        assert_eq!(gaps.find('X'), Some(start / 125), "{drawing}");
        assert_eq!(row(&drawing, "node-1").matches('#').count(), start / 125, "{drawing}");
    }
}

#[test]
fn marks_stand_in_their_rows_and_are_listed() {
    let mut r = recording(MS, "aaaa----bb");
    let announce = |ms, op| Announcement { mac: B, op, at: r.from + MS * ms };
    r.announcements = vec![announce(7, Op::Request), announce(7, Op::Reply)];
    let event = |ms, mac, mark, text: &str| Event {
        at: r.from + MS * ms,
        mac,
        mark,
        text: text.to_owned(),
    };
    let events = vec![event(4, Some(A), 'K', "killed"), event(1, None, 'S', "Service made")];
    let drawing = render(&Timeline { events, ..timeline(&r) }, PLAIN);
    assert_eq!(row(&drawing, "node-1"), "####K.....", "{drawing}");
    assert_eq!(row(&drawing, "node-2"), ".......G##", "{drawing}");
    assert_eq!(drawing.lines().nth(1), Some("          S"), "{drawing}");
    assert!(drawing.contains("K     0.004 s  node-1: killed"), "{drawing}");
    assert!(drawing.contains("S     0.001 s  Service made"), "{drawing}");
    let garp = "G     0.007 s  node-2: gratuitous ARP, 1 as request and 1 as reply";
    assert!(drawing.contains(garp), "{drawing}");
}

#[test]
fn strangers_get_a_row() {
    let r = recording(MS, "axb");
    let rows = vec![("node-1".to_owned(), A)];
    let drawing = render(&Timeline { recording: &r, rows, events: Vec::new() }, PLAIN);
    assert!(drawing.contains("02:00:00:00:00:02 .##"), "{drawing}");
    assert!(drawing.contains("by node-1 and 02:00:00:00:00:02"), "{drawing}");
}

#[test]
fn ticks_stand_at_their_seconds() {
    let drawing = render(&timeline(&recording(MS, &"a".repeat(10_000))), PLAIN);
    let axis = drawing.lines().find(|line| line.contains("|0")).expect("an axis").get(9..);
    let axis = axis.expect("a margin");
    for tick in 0..=4 {
        let at = axis.find(&format!("|{}", tick * 2));
        assert_eq!(at, Some(tick * 16), "{axis}");
    }
}

#[test]
fn plain_text_has_no_escapes_and_colour_changes_nothing_else() {
    let r = recording(MS, &("a".repeat(50) + "--x" + &"b".repeat(50)));
    let plain = render(&timeline(&r), PLAIN);
    assert!(plain.is_ascii(), "{plain}");
    assert!(!plain.contains('\x1b'));
    let mut rest = render(&timeline(&r), Style { colour: true, ..PLAIN });
    assert!(rest.contains("\x1b[31m"));
    while let Some(start) = rest.find('\x1b') {
        let end = start + rest[start..].find('m').expect("a whole escape");
        rest.replace_range(start..=end, "");
    }
    assert_eq!(rest, plain);
}

#[test]
fn no_drawing_is_wider_than_asked_for() {
    let script = "a".repeat(3000);
    for width in [40, 80, 100, 237] {
        let r = recording(MS, &script);
        let drawing = render(&timeline(&r), Style { width, unicode: true, ..PLAIN });
        let cells = drawing.lines().filter(|line| line.contains('█'));
        assert!(cells.map(|line| line.chars().count()).all(|w| w == width), "{drawing}");
    }
}

#[test]
fn an_empty_recording_is_drawn_too() {
    let drawing = render(&timeline(&recording(MS, "")), PLAIN);
    assert!(drawing.contains("0 requests"), "{drawing}");
}

#[test]
fn durations_are_short_and_have_units() {
    for (us, text) in [
        (0, "0 us"),
        (56, "56 us"),
        (1000, "1 ms"),
        (2500, "2.5 ms"),
        (10_000, "10 ms"),
        (231_400, "231 ms"),
        (2_410_000, "2.41 s"),
    ] {
        assert_eq!(human(Duration::from_micros(us)), text);
    }
}
