//! What a probe must have seen.

use std::time::Duration;

use announcer_tests::{arp::Mac, recording::Recording};

use crate::{Mode, millis};

/// In a handover both answer for 50 ms at most, plus what a busy machine adds: the old holder
/// stops at the successor's first frame. (The 200 ms for a frame that is lost would be too
/// long: none is lost here.)
pub(crate) const OVERLAP: Duration = Duration::from_millis(150);

/// A node that learns that it was fenced is silent before its successor has taken the
/// VIP: one request, and the head start of each rank.
const TAKING: Duration = Duration::from_millis(300);

/// One node answered every request, and nobody else any.
#[track_caller]
pub(crate) fn steady(recording: &Recording, mac: Mac) {
    assert_eq!(answerers(recording), [mac]);
    let gaps = recording.gaps();
    assert!(gaps.is_empty(), "unanswered {}: {gaps:?}", recording.unanswered());
    assert_eq!(recording.duplicated(), 0);
}

/// However often the VIP was handed over: no request went unanswered, two nodes answered
/// only while one handed over to the other, and the last was `to`.
#[track_caller]
pub(crate) fn handed_over(recording: &Recording, to: Mac) {
    let gaps = recording.gaps();
    assert!(gaps.is_empty(), "unanswered {}: {gaps:?}", recording.unanswered());
    assert_eq!(recording.duplicated(), 0);
    for overlap in recording.overlaps() {
        let length = overlap.to.saturating_duration_since(overlap.from);
        assert!(overlap.macs.len() == 2 && length <= OVERLAP, "{length:?}: {overlap:?}");
    }
    assert!(recording.requests.last().is_some_and(|last| last.answered_by(to)));
}

/// `from` lost the VIP to `to` without a handover: with `withdraw` it was silent before its
/// successor began; with `hold` it may have answered until it heard of it.
#[track_caller]
pub(crate) fn gave_way(recording: &Recording, mode: Mode, from: Mac, to: Mac) {
    let mut both = [from, to];
    both.sort_unstable();
    assert_eq!(answerers(recording), both);
    assert_eq!(recording.duplicated(), 0);
    let (gaps, overlaps) = (recording.gaps(), recording.overlaps());
    match mode {
        Mode::Withdraw => {
            assert_eq!(gaps.len(), 1, "{gaps:?}");
            assert_eq!(recording.contested(), 0, "{overlaps:?}");
        }
        Mode::Hold => {
            let length = |o: &announcer_tests::recording::Overlap| o.to - o.from;
            let both: Duration = overlaps.iter().map(length).sum();
            let dark: Duration = gaps.iter().map(|gap| gap.to - gap.from).sum();
            println!("both: {:.0} ms, dark: {:.0} ms", millis(both), millis(dark));
            assert!(both <= OVERLAP, "{both:?}: {overlaps:?}");
            assert!(gaps.len() <= 1 && dark <= TAKING, "{gaps:?}");
        }
    }
}

/// Never two at once; dark for `bound` at most, if at all; `last` at the end.
#[track_caller]
pub(crate) fn interrupted(recording: &Recording, bound: Duration, last: Mac) {
    assert_eq!((recording.contested(), recording.duplicated()), (0, 0));
    let gaps = recording.gaps();
    let dark = gaps.iter().map(|gap| gap.to.saturating_duration_since(gap.from)).sum::<Duration>();
    println!("dark: {:.0} ms", millis(dark));
    assert!(dark <= bound, "{dark:?}: {gaps:?}");
    assert!(recording.requests.last().is_some_and(|request| request.answered_by(last)));
}

/// Everybody who answered, in the order of MACs.
pub(crate) fn answerers(recording: &Recording) -> Vec<Mac> {
    recording.answerers().into_keys().collect()
}
