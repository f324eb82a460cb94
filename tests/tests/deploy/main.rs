//! What is shipped to operators: the chart, the alerts, the dashboard, the unit.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod chart;
mod metrics;
mod unit;
mod values;
