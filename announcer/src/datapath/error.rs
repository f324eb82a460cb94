//! What can go wrong between the daemon and the kernel, each with its remedy.

use std::{error::Error, io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::{
    hook::EffectiveHook,
    netlink::{AttachedProgram, NetlinkError},
};

/// Why the data plane could not be set up, changed or taken down.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// There is no such interface (any more).
    #[error("there is no interface {0} in this network namespace; `ip link` lists those there are")]
    NoSuchInterface(String),
    /// The interface does not speak ARP.
    #[error("{interface} is {what}, not an Ethernet interface: there is no ARP to answer on it")]
    NotEthernet {
        /// Its name.
        interface: String,
        /// Its link layer.
        what: String,
    },
    /// Somebody else's XDP program is there.
    #[error(
        "{interface} already runs an XDP program of somebody else: {program}. It is not replaced: \
         stop whatever attached it (`ip link set dev {interface} {} off` removes one that was \
         attached without a BPF link), or choose another interface",
        program.mode.ip_link_keyword()
    )]
    ForeignProgram {
        /// The interface's name.
        interface: String,
        /// The program.
        program: AttachedProgram,
    },
    /// The hook that was asked for cannot be had.
    #[error("{interface} cannot do {hook}: {why}; use --hook auto, which takes what there is")]
    HookUnavailable {
        /// The interface's name.
        interface: String,
        /// The hook.
        hook: EffectiveHook,
        /// What is missing, or whose fault it may be.
        why: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// EPERM or EACCES.
    #[error(
        "{what} is not permitted: run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and \
         CAP_PERFMON (if it is root already: kernel lockdown or a container's seccomp profile \
         forbids bpf(2))"
    )]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel lacks a feature.
    #[error(
        "the kernel cannot do this: {what}. Linux 5.15 or later is needed, with CONFIG_BPF_SYSCALL \
         and CONFIG_BPF_JIT"
    )]
    Unsupported {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No BPF file system, and none could be mounted.
    #[error(
        "there is no BPF file system at {path} and it could not be mounted; run `mount -t bpf bpf \
         {path}` as root, or give the container the host's {path}"
    )]
    NoBpfFs {
        /// The mount point.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The object could not be loaded: a bug, or a kernel that nobody tested.
    #[error("loading the BPF programs failed")]
    Load(#[source] EbpfError),
    /// The verifier refused the program, or something of the kind.
    #[error("the kernel refused the BPF program")]
    Program(#[source] ProgramError),
    /// The object lacks a map or program that the daemon expects.
    #[error("the BPF object has no {0}: daemon and object were not built together")]
    Incomplete(&'static str),
    /// Attaching failed for a reason that has no variant of its own.
    #[error("attaching to {interface} with {hook} failed")]
    Attach {
        /// The interface's name.
        interface: String,
        /// The hook.
        hook: EffectiveHook,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error("map {map} could not be accessed")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// Pins of a daemon that was built with other maps.
    #[error(
        "the maps are those of another version of announcer (ABI {found}, this one's is {ours}); \
         use that version, or let a daemon of this version replace them"
    )]
    OtherAbi {
        /// The version that is pinned.
        found: u32,
        /// The version of this program.
        ours: u32,
    },
    /// Something below the pin directory.
    #[error("{what} {path} failed")]
    Pin {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel could not be asked about interfaces.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A system call that has no variant of its own.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl DatapathError {
    /// Waiting and trying again can help: the interface may come (back).
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::NoSuchInterface(_) | Self::Netlink(_))
    }

    pub(crate) fn load(error: EbpfError) -> Self {
        classify("loading BPF maps", error, Self::Load)
    }

    pub(crate) fn program(error: ProgramError) -> Self {
        classify("loading a BPF program", error, Self::Program)
    }

    pub(crate) fn map(map: &'static str, error: MapError) -> Self {
        classify("accessing a BPF map", error, |source| Self::Map { map, source })
    }

    pub(crate) fn system(what: &'static str, error: io::Error) -> Self {
        classify(what, error, |source| Self::System { what, source })
    }

    pub(crate) fn pin(
        what: &'static str,
        path: impl Into<PathBuf>,
        error: impl Error + Send + Sync + 'static,
    ) -> Self {
        classify("using the BPF file system", error, |source| Self::Pin {
            what,
            path: path.into(),
            source: Box::new(source),
        })
    }
}

fn classify<E: Error + Send + Sync + 'static>(
    what: &'static str,
    error: E,
    otherwise: impl FnOnce(E) -> DatapathError,
) -> DatapathError {
    match os_error(&error) {
        Some(libc::EPERM | libc::EACCES) if !is_verifier_refusal(&error) => {
            DatapathError::NotPermitted { what, source: Box::new(error) }
        }
        Some(libc::ENOSYS) => DatapathError::Unsupported { what, source: Box::new(error) },
        _ => otherwise(error),
    }
}

/// The verifier says EACCES too, when it refuses a program; then it has logged why.
fn is_verifier_refusal(error: &(dyn Error + 'static)) -> bool {
    let program = match error.downcast_ref::<EbpfError>() {
        Some(EbpfError::ProgramError(program)) => Some(program),
        _ => error.downcast_ref::<ProgramError>(),
    };
    matches!(program, Some(ProgramError::LoadError { io_error, verifier_log })
        if io_error.raw_os_error() == Some(libc::EACCES) && !verifier_log.to_string().is_empty())
}

/// The system's error number, wherever in the chain of sources it is.
pub(crate) fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}
