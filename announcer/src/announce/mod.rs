//! Gratuitous ARP: tells the segment which MAC a VIP has moved to, and again from
//! time to time, so that switches do not forget.
//!
//! [`schedule`] decides what to send and when, [`probing`] does so for the probes
//! before a first claim, [`pacing`] bounds both, [`wire`] builds the frames and sends
//! them. The responder owns one of each per interface.

pub mod pacing;
pub mod probing;
pub mod schedule;
pub mod wire;

pub use pacing::Pacing;
pub use schedule::{Announcement, Kind, Schedule, Settings};
pub use wire::GratuitousSender;
