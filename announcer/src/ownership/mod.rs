//! Which VIPs this node holds, and until when.
//!
//! The protocol, in one paragraph. Every node renews one *node lease*; its uid
//! and `leaseTransitions` are the node's *session*. A VIP is held by whoever
//! its *VIP lease* names, as long as that node is still in the session under
//! which it was taken. A node counts itself valid only until the sending time
//! of its last confirmed renewal plus the lease duration, less a margin. Who
//! wants the VIPs of a silent node first *fences* it: raises the session in its
//! node lease by compare-and-swap, which fails if it renewed in the meantime
//! and makes its next renewal fail if not. Then, and only then, they take.
//!
//! [`machine`] and what it is made of are pure: inputs and `now` in, requests
//! and a [`WireState`](crate::wire_state::WireState) out. [`store`] speaks to
//! the API server, [`driver`] is the loop between the two.

pub mod driver;
pub mod heartbeat;
pub mod lease;
pub mod machine;
pub mod pace;
pub mod peers;
pub mod placement;
pub mod profile;
pub mod report;
pub mod store;
pub mod tenures;
pub mod timing;
pub mod vip;
pub mod watch;
