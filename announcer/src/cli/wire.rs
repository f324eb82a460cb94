//! Flags that say where on the node ARP is answered.

use clap::Args;

use crate::{config::InterfacePattern, datapath::Hook};

/// The heading of these, and of others of their kind.
pub(super) const WIRE: &str = "Interface and wire";

/// Which interfaces, and how.
#[derive(Clone, Debug, Args)]
pub struct WireArgs {
    /// Interface to answer on, by name or as /regular expression/.
    ///
    /// May be given several times, or as a list with commas; one that does not exist yet is
    /// waited for. Default: the interface of the default route.
    #[arg(long, env = "ANNOUNCER_INTERFACE", value_delimiter = ',', value_name = "NAME|/REGEX/")]
    pub interface: Vec<InterfacePattern>,
    /// Where to attach the BPF program.
    #[arg(long, env = "ANNOUNCER_HOOK", default_value_t)]
    pub hook: Hook,
}
