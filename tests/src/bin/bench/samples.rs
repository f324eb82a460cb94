//! Measurements of one thing, in order of size.

/// At least one measurement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// `None` of nothing.
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    /// The nearest rank: the least measurement that `percent` % (1 to 100) of them do not
    /// exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        // The rank is within 1 and the length, which is not 0.
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.percentile(100)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements() {
        let samples = Samples::new((1..=20).rev().map(f64::from)).unwrap();
        let percentiles = [1, 50, 95, 96, 100].map(|percent| samples.percentile(percent));
        assert_eq!(percentiles, [1.0, 10.0, 19.0, 20.0, 20.0]);
        assert_eq!((samples.min(), samples.max(), samples.len()), (1.0, 20.0, 20));
        let one = Samples::new([7.0]).unwrap();
        assert_eq!((one.min(), one.median(), one.percentile(99)), (7.0, 7.0, 7.0));
        assert_eq!(Samples::new([]), None);
    }
}
