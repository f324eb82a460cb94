//! What the kernel and the daemon agree on, and what becomes of a frame.
//!
//! [`abi`] is the layout of the maps. [`verdict()`] decides about one frame; it
//! sees the frame through [`Frame`] and everything else through [`Env`], so that
//! the same code runs in the kernel (`main.rs`) and in tests on the host.
//!
//! Userspace depends on this crate with feature `user`; the binary
//! `announcer-xdp` is built for the BPF target by the `announcer` build script.

#![cfg_attr(target_arch = "bpf", no_std)]

pub mod abi;
mod frame;
mod ping;
mod verdict;

pub use frame::{
    ARP_HEADERS, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, Frame,
    Overlay, TAGGED_ARP_HEADERS,
};
pub use verdict::{Env, Verdict, verdict};
