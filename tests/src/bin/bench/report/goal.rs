//! What a figure should be.

/// A bound that a figure should keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    pub(crate) const fn bound(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }

    /// How a value compares with it, as a sign between the two.
    pub(crate) fn sign(self, value: f64) -> char {
        match (self, self.is_met_by(value)) {
            (Self::AtMost(_), true) => '≤',
            (Self::AtMost(_), false) => '>',
            (Self::AtLeast(_), true) => '≥',
            (Self::AtLeast(_), false) => '<',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_itself_meets_the_goal() {
        for goal in [Goal::AtMost(2.0), Goal::AtLeast(2.0)] {
            assert!(goal.is_met_by(2.0), "{goal:?}");
        }
        assert!(!Goal::AtMost(2.0).is_met_by(2.1) && !Goal::AtLeast(2.0).is_met_by(1.9));
    }

    #[test]
    fn no_figure_at_all_meets_no_goal() {
        assert!(!Goal::AtMost(2.0).is_met_by(f64::NAN) && !Goal::AtLeast(2.0).is_met_by(f64::NAN));
    }
}
