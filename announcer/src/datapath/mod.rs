//! The kernel side of the announcer: the BPF program, its maps, and how they are
//! attached, pinned and adopted. Needs Linux 5.15.
//!
//! [`Datapath`] is the network namespace with its pins; it opens an [`Interface`]
//! for each network interface. [`plan`] decides what is written, [`Interface`]
//! writes it. Nothing but the responder calls [`Interface::write`].

mod adoption;
mod attach;
mod counters;
mod error;
mod ethtool;
mod events;
mod hook;
mod inspect;
mod interface;
mod link;
mod maps;
pub mod namespace;
pub mod netlink;
mod object;
mod pins;
pub mod plan;
pub mod survey;
mod table;
mod xdp_features;

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

pub use announcer_ebpf::abi::Counter;
use clap::ValueEnum;
pub use counters::{CounterReader, Totals};
pub use error::DatapathError;
pub use events::{ClaimStream, LogStream};
pub use hook::{EffectiveHook, Hook, HookError, Reason};
pub use inspect::{Inspection, PinnedMaps, PinnedVip, inspect};
pub use interface::{Interface, Written};
pub use object::OBJECT;
pub use pins::{DEFAULT_PIN_ROOT, Swept};

use self::{link::Link, namespace::NetnsCookie, netlink::Netlink, pins::PinDir};
use crate::{types::IfIndex, wire_state::Adopted};

/// How interfaces are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to attach.
    pub hook: Hook,
    /// Room for so many VIPs on each interface, held and silent together. Adopted
    /// maps keep the room that they have.
    pub max_vips: NonZeroU32,
    /// A directory on (or to be on) a BPF file system.
    pub pin_root: PathBuf,
    /// Forward what the program logs to tracing (target `announcer::xdp`).
    /// When off it costs nothing: the verifier removes the code.
    pub bpf_log: bool,
    /// What becomes of requests for VIPs that this node does not answer.
    pub silence: Silence,
    /// Answer ICMP echo requests to held VIPs.
    pub answer_ping: bool,
}

/// What becomes of a request for a VIP that this node knows and does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Silence {
    /// Dropped, unless others than this host are seen to get frames through the
    /// interface: then it passes.
    #[default]
    Auto,
    /// Dropped: this host's kernel does not answer either.
    Drop,
    /// Passes, as for macvlans in other namespaces, of which the kernel does not tell.
    Pass,
}

impl Silence {
    /// Whether it passes on an interface through which others get frames, or nobody.
    const fn passes(self, is_shared: bool) -> bool {
        match self {
            Self::Auto => is_shared,
            Self::Drop => false,
            Self::Pass => true,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hook: Hook::Auto,
            max_vips: NonZeroU32::MIN.saturating_add(announcer_ebpf::abi::DEFAULT_MAX_VIPS - 1),
            pin_root: DEFAULT_PIN_ROOT.into(),
            bpf_log: false,
            silence: Silence::Auto,
            answer_ping: true,
        }
    }
}

/// The data plane of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Datapath {
    options: Options,
    namespace: NetnsCookie,
    netlink: Netlink,
}

impl Datapath {
    /// Makes sure that there is a BPF file system, and connects to rtnetlink.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DatapathError::NoBpfFs`], [`DatapathError::Unsupported`] before Linux
    /// 5.14, [`DatapathError::Netlink`].
    pub fn open(options: Options) -> Result<Self, DatapathError> {
        let namespace = current_namespace()?;
        pins::ensure_bpffs(&options.pin_root)?;
        Ok(Self { options, namespace, netlink: Netlink::connect()? })
    }

    /// For questions about interfaces.
    pub const fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Attaches to an interface; or adopts what a former daemon left there, and
    /// says what that is.
    ///
    /// # Errors
    /// [`DatapathError`]; what was set up until then is taken down again.
    pub async fn attach(
        &self,
        index: IfIndex,
    ) -> Result<(Interface, Option<Adopted>), DatapathError> {
        Interface::open(&self.netlink, self.namespace, index, &self.options).await
    }

    /// Whether what [`attach`](Self::attach) attached to this interface is still there.
    /// Somebody else may have detached it, or removed its pins; the kernel tells nobody.
    ///
    /// The kernel answers when it has the lock of rtnetlink, for which others can make it
    /// wait for hundreds of milliseconds: so it is asked on a thread of its own. Must be
    /// called within a tokio runtime.
    pub async fn is_attached(&self, index: IfIndex) -> bool {
        let pins = PinDir::new(&self.options.pin_root, self.namespace, index);
        let asked = tokio::task::spawn_blocking(move || Link::pinned(&pins.link())?.interface());
        matches!(asked.await, Ok(Ok(interface)) if interface == Some(index))
    }

    /// The interfaces on which a former daemon left something.
    ///
    /// # Errors
    /// [`DatapathError::Pin`].
    pub fn pinned(&self) -> Result<Vec<IfIndex>, DatapathError> {
        let all = PinDir::all(&self.options.pin_root, self.namespace)?;
        Ok(all.into_iter().map(|(index, _)| index).collect())
    }

    /// Takes down what former daemons left on interfaces other than `keep`, and
    /// says on which.
    ///
    /// # Errors
    /// [`DatapathError::Pin`].
    pub fn detach_others(&self, keep: &[IfIndex]) -> Result<Vec<IfIndex>, DatapathError> {
        detach(&self.options.pin_root, self.namespace, keep)
    }
}

/// Takes down whatever daemons left in this network namespace, and says on which
/// interfaces. The caller holds the [`InstanceLock`](namespace::InstanceLock).
///
/// # Errors
/// [`DatapathError::Pin`].
pub fn detach_all(pin_root: &Path) -> Result<Vec<IfIndex>, DatapathError> {
    detach(pin_root, current_namespace()?, &[])
}

/// Removes what daemons left in other network namespaces, of interfaces that are no more.
///
/// # Errors
/// [`DatapathError::Pin`].
pub fn sweep(pin_root: &Path) -> Result<Swept, DatapathError> {
    pins::sweep(pin_root, current_namespace()?)
}

fn detach(
    pin_root: &Path,
    namespace: NetnsCookie,
    keep: &[IfIndex],
) -> Result<Vec<IfIndex>, DatapathError> {
    let mut detached = Vec::new();
    for (index, pins) in PinDir::all(pin_root, namespace)? {
        if !keep.contains(&index) {
            pins.remove()?;
            detached.push(index);
        }
    }
    Ok(detached)
}

fn current_namespace() -> Result<NetnsCookie, DatapathError> {
    NetnsCookie::current().map_err(|source| DatapathError::Unsupported {
        what: "telling network namespaces apart (SO_NETNS_COOKIE)",
        source: Box::new(source),
    })
}
