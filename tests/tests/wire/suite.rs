//! What a user depends on, whichever the hook. Compiled once for each.

mod answering;
mod capabilities;
mod gratuitous;
mod interfaces;
mod judges;
mod jumbo;
mod lifecycle;
mod local_vip;
mod occupied;
mod passing;
mod pinging;
mod refusing;
mod tags;
mod uplink;

use super::HOOK;
