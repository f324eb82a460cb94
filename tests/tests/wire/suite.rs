//! What a user depends on, whichever the hook. Compiled once for each.

mod answering;
mod capabilities;
mod gratuitous;
mod interfaces;
mod jumbo;
mod lifecycle;
mod local_vip;
mod occupied;
mod passing;
mod refusing;
mod tags;

use super::HOOK;
