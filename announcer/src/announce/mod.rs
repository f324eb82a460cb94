//! Gratuitous ARP: tells the segment which MAC a VIP has moved to.
//!
//! [`schedule`] decides what to send and when, [`wire`] builds the frames and
//! sends them. The responder owns one of each per interface.

pub mod schedule;
pub mod wire;

pub use schedule::{Announcement, Pacing, Schedule};
pub use wire::GratuitousSender;
