//! What it means that a kind may not be read.

use std::time::{Duration, Instant};

use super::feed::Fed;

/// An API server that starts denies everything until it has read its RBAC rules, which
/// takes it a second or two.
const STARTING: Duration = Duration::from_secs(10);

/// Tells rights that are missing from an API server that starts.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// The kind could be read, and has not been forbidden for long since.
    readable: bool,
    /// When it was forbidden, first and last; between two such answers there were
    /// [`STARTING`] at most.
    forbidden: Option<(Instant, Instant)>,
}

impl Rights {
    /// `what` happened at `now`: that a kind is forbidden which could be read before is an
    /// interruption, unless it lasts for [`STARTING`].
    ///
    /// Nothing tells when a watch has resumed in which nothing happens, so what is
    /// forbidden again much later counts from then on.
    pub(super) fn judge(&mut self, what: Fed, now: Instant) -> Fed {
        match what {
            Fed::Listing | Fed::Broken(_) => what,
            Fed::Listed(_) | Fed::ListDone | Fed::Applied(_) | Fed::Deleted(_) => {
                *self = Self { readable: true, forbidden: None };
                what
            }
            Fed::Absent => {
                *self = Self::default();
                what
            }
            Fed::Forbidden(error) => {
                let lately = self.forbidden.filter(|(_, last)| now - *last <= STARTING);
                let first = lately.map_or(now, |(first, _)| first);
                self.forbidden = Some((first, now));
                self.readable &= now - first < STARTING;
                if self.readable { Fed::Broken(error) } else { Fed::Forbidden(error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of 403 answers at these seconds, after the kind has been read at 0 s:
    /// whether rights are missing.
    fn forbidden_at<const N: usize>(seconds: [u64; N]) -> [bool; N] {
        let (mut rights, start) = (Rights::default(), Instant::now());
        assert!(matches!(rights.judge(Fed::ListDone, start), Fed::ListDone));
        seconds.map(|second| forbidden(&mut rights, start + Duration::from_secs(second)))
    }

    fn forbidden(rights: &mut Rights, now: Instant) -> bool {
        matches!(rights.judge(Fed::Forbidden(String::new()), now), Fed::Forbidden(_))
    }

    #[test]
    fn what_could_never_be_read_lacks_rights_at_once() {
        let mut rights = Rights::default();
        assert!(forbidden(&mut rights, Instant::now()));
    }

    #[test]
    fn what_could_be_read_lacks_rights_when_that_has_lasted() {
        assert_eq!(forbidden_at([100, 104, 109, 110, 111]), [false, false, false, true, true]);
        // Slower, as it is asked for once rights are missing.
        assert_eq!(forbidden_at([5, 10, 15, 45, 75]), [false, false, true, true, true]);
    }

    #[test]
    fn two_servers_that_start_are_not_one_that_lasts() {
        assert_eq!(forbidden_at([1, 2, 3, 60, 61, 3600]), [false; 6]);
    }

    #[test]
    fn what_is_read_again_may_be_interrupted_again() {
        let (mut rights, start) = (Rights::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(forbidden(&mut rights, start));
        rights.judge(Fed::ListDone, after(5));
        assert!(!forbidden(&mut rights, after(6)));
        // Other errors in between change nothing.
        rights.judge(Fed::Broken(String::new()), after(11));
        rights.judge(Fed::Listing, after(11));
        assert!(!forbidden(&mut rights, after(12)));
        assert!(forbidden(&mut rights, after(16)));
        rights.judge(Fed::ListDone, after(17));
        rights.judge(Fed::Absent, after(18));
        assert!(forbidden(&mut rights, after(19)), "it was gone");
    }
}
