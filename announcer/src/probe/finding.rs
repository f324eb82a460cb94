//! What is to be said of an address in the end, and what to do about it: pure.

use super::{here::Here, watching::Summary};
use crate::{exit::Code, types::Vip};

/// How many answer for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// One station.
    One,
    /// This host does, and nobody else.
    Here(Here),
    /// Nobody.
    Nobody,
    /// Two stations or more.
    Two,
    /// This host, and a station besides.
    TwoWithHere(Here),
}

impl Finding {
    /// Out of what was heard, and of what this host answers itself, all the while.
    pub fn of(summary: &Summary, here: Option<Here>) -> Self {
        // What moved to this host or away from it meanwhile was not answered by others then.
        let always_heard = summary.asked > 0 && summary.unanswered == 0;
        match here {
            _ if summary.duplicated > 0 => Self::Two,
            Some(here) if always_heard => Self::TwoWithHere(here),
            Some(here) if summary.by.is_empty() => Self::Here(here),
            None if summary.by.is_empty() => Self::Nobody,
            _ => Self::One,
        }
    }

    /// How the command is to end for it; `None`: well.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::One | Self::Here(_) => None,
            Self::Nobody => Some(Code::NotAnnounced),
            Self::Two | Self::TwoWithHere(_) => Some(Code::Duplicate),
        }
    }

    /// In a sentence, with the next step; `None` where there is nothing to do.
    pub fn sentence(&self, vip: Vip) -> Option<String> {
        let find = format!(
            "`announcer explain {vip}` names the holder; find the other by its MAC (its vendor, \
             the switch's table), and take the address from it"
        );
        Some(match self {
            Self::One => return None,
            Self::Here(here) => format!(
                "this node answers for {vip} itself ({here}): a probe from here cannot see that; \
                 type `announcer probe {vip}` on another host of the segment"
            ),
            Self::Nobody => format!(
                "nobody answers for {vip}: `announcer explain {vip}`, on a machine with a \
                 kubeconfig, says why"
            ),
            Self::Two => format!("two stations answer for {vip}: {find}"),
            Self::TwoWithHere(here) => format!(
                "two stations answer for {vip}: the one above and this node itself ({here}); {find}"
            ),
        })
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        probe::watching::Watching,
        types::{BootTime, MacAddr},
    };

    fn here() -> Here {
        Here::Announcer { interface: "ens18".to_owned() }
    }

    /// Asked as often, and each time answered by so many.
    fn summary(answers: &[u8]) -> Summary {
        let mut watching = Watching::new(Duration::from_secs(1));
        for (now, by) in answers.iter().enumerate() {
            let now = BootTime::ZERO + Duration::from_secs(now as u64);
            watching.asked(now);
            for station in 0..*by {
                watching.answered(MacAddr::new([2, 0, 0, 0, 0, station]), now);
            }
        }
        watching.close(BootTime::ZERO + Duration::from_secs(60));
        watching.summary().clone()
    }

    #[test]
    fn this_host_counts_as_one_that_answers() {
        for (answers, here, expected, code) in [
            (&[1, 1][..], None, Finding::One, None),
            (&[1, 0], None, Finding::One, None),
            (&[0, 0], None, Finding::Nobody, Some(Code::NotAnnounced)),
            (&[1, 2], None, Finding::Two, Some(Code::Duplicate)),
            (&[0, 0], Some(here()), Finding::Here(here()), None),
            (&[1, 1], Some(here()), Finding::TwoWithHere(here()), Some(Code::Duplicate)),
            // It came to this host while it was watched.
            (&[1, 0], Some(here()), Finding::One, None),
            (&[], Some(here()), Finding::Here(here()), None),
        ] {
            let finding = Finding::of(&summary(answers), here);
            assert_eq!((finding.code(), &finding), (code, &expected), "{answers:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_type() {
        let vip: Vip = "192.0.2.10".parse().expect("a VIP");
        for (finding, part) in [
            (Finding::Here(here()), "type `announcer probe 192.0.2.10` on another host"),
            (Finding::Nobody, "`announcer explain 192.0.2.10`"),
            (Finding::Two, "`announcer explain 192.0.2.10`"),
            (Finding::TwoWithHere(here()), "this node itself (held by the announcer here, ens18)"),
        ] {
            let said = finding.sentence(vip).unwrap_or_default();
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(Finding::One.sentence(vip), None);
    }
}
