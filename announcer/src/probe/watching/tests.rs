#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use super::*;

const A: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0xb]);
/// Milliseconds from one question to the next.
const EACH: u64 = 100;
const PATIENCE: Duration = Duration::from_millis(250);

fn at(ms: u64) -> BootTime {
    BootTime::from_nanos(ms * 1_000_000)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One question every 100 ms from 0 on; to each, who answers it how many milliseconds later.
/// What is said, and when; at the end the last question is over, too.
fn watch(rounds: &[&[(MacAddr, u64)]]) -> (Vec<(u64, Statement)>, Summary) {
    let mut watching = Watching::new(PATIENCE);
    let mut said = Vec::new();
    let mut asked = 0;
    for round in rounds {
        said.extend(watching.asked(at(asked)).into_iter().map(|it| (asked, it)));
        for (by, after) in *round {
            let now = asked + after;
            said.extend(watching.answered(*by, at(now)).into_iter().map(|it| (now, it)));
        }
        asked += EACH;
    }
    said.extend(watching.close(at(asked)).into_iter().map(|it| (asked, it)));
    (said, watching.summary().clone())
}

#[test]
fn one_that_answers_always_is_said_once() {
    let (said, summary) = watch(&[&[(A, 1)], &[(A, 3)], &[(A, 2)]]);
    assert_eq!(said, [(1, Statement::Answered { by: A, unanswered_for: None })]);
    let answers = summary.by.get(&A).expect("it answered");
    assert_eq!(
        (answers.count, answers.least, answers.most, answers.mean()),
        (3, ms(1), ms(3), ms(2))
    );
    assert_eq!(
        (summary.asked, summary.unanswered, summary.duplicated, summary.moves),
        (3, 0, 0, 0)
    );
    assert_eq!(summary.longest_gap, None);
}

#[test]
fn a_second_answer_by_the_same_station_is_none() {
    let (said, summary) = watch(&[&[(A, 1), (A, 2)]]);
    assert_eq!(said.len(), 1);
    assert_eq!((summary.duplicated, summary.by[&A].count), (0, 1));
}

#[test]
fn nobody_is_said_once_when_patience_is_over() {
    let (said, summary) = watch(&[&[], &[], &[], &[], &[]]);
    assert_eq!(said, [(300, Statement::Silent { last: None, since: at(0) })]);
    assert_eq!((summary.asked, summary.unanswered), (5, 5));
}

#[test]
fn a_failover_with_silence_tells_for_how_long() {
    let (said, summary) = watch(&[&[(A, 1)], &[], &[], &[], &[], &[(B, 2)], &[(B, 1)]]);
    assert_eq!(
        said,
        [
            (1, Statement::Answered { by: A, unanswered_for: None }),
            (300, Statement::Silent { last: Some(A), since: at(1) }),
            (502, Statement::Moved { from: A, to: B, unanswered_for: Some(ms(501)) }),
        ]
    );
    assert_eq!((summary.moves, summary.unanswered, summary.longest_gap), (1, 4, Some(ms(501))));
}

#[test]
fn a_handover_without_an_unanswered_question_has_no_gap() {
    let (said, summary) = watch(&[&[(A, 1)], &[(B, 1)]]);
    assert_eq!(said[1..], [(101, Statement::Moved { from: A, to: B, unanswered_for: None })]);
    assert_eq!((summary.moves, summary.longest_gap), (1, None));
}

#[test]
fn a_short_silence_is_counted_and_not_said() {
    let (said, summary) = watch(&[&[(A, 1)], &[], &[(A, 1)]]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((summary.unanswered, summary.longest_gap), (1, Some(ms(200))));
}

#[test]
fn whoever_comes_back_after_silence_is_said_again() {
    let (said, _) = watch(&[&[(A, 1)], &[], &[], &[], &[(A, 1)]]);
    assert_eq!(said[2], (401, Statement::Answered { by: A, unanswered_for: Some(ms(400)) }));
}

#[test]
fn two_that_answer_one_question_are_said_when_they_begin_and_when_they_end() {
    let (said, summary) = watch(&[&[(A, 1)], &[(A, 1), (B, 5)], &[(B, 1), (A, 2)], &[(B, 1)]]);
    assert_eq!(
        said[1..],
        [
            (105, Statement::Both { first: A, second: B }),
            (201, Statement::Moved { from: A, to: B, unanswered_for: None }),
            (400, Statement::BothOver { left: Some(B), lasted: ms(97) }),
        ]
    );
    assert_eq!((summary.duplicated, summary.by[&A].count, summary.by[&B].count), (2, 3, 3));
}

#[test]
fn an_overlap_that_ends_in_silence_leaves_nobody() {
    let (said, _) = watch(&[&[(A, 1), (B, 2)], &[]]);
    assert_eq!(
        said.last(),
        Some(&(200, Statement::BothOver { left: None, lasted: Duration::ZERO }))
    );
}

#[test]
fn an_answer_before_any_question_is_somebody_elses() {
    let mut watching = Watching::new(PATIENCE);
    assert_eq!(watching.answered(A, at(5)), []);
    assert_eq!(watching.summary(), &Summary::default());
}

#[test]
fn announcements_are_said_and_answer_nothing() {
    let mut watching = Watching::new(PATIENCE);
    watching.asked(at(0));
    assert_eq!(watching.announced(B), Statement::Announced { by: B });
    watching.close(at(300));
    assert_eq!((watching.summary().announcements, watching.summary().unanswered), (1, 1));
}
