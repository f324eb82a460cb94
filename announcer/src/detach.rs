//! `announcer detach`: removes what daemons that are no more left attached and pinned.

use std::path::Path;

use crate::{
    daemon::DaemonError,
    datapath::{self, Swept, namespace::InstanceLock, netlink::Netlink},
    exit::Failure,
    output,
};

/// Runs the command. Must be called within a tokio runtime.
///
/// # Errors
/// A daemon runs in this network namespace, or something cannot be removed.
pub async fn run() -> Result<(), Failure> {
    let root: &Path = datapath::DEFAULT_PIN_ROOT.as_ref();
    let _lock = InstanceLock::acquire().map_err(DaemonError::from)?;
    // Of interfaces that are gone there are no names, and without any nothing is lost.
    let names = match Netlink::connect() {
        Ok(netlink) => netlink.snapshot().await.ok(),
        Err(_) => None,
    };
    let detached = datapath::detach_all(root).map_err(DaemonError::from)?;
    if detached.is_empty() {
        output::write("nothing is attached or pinned in this network namespace\n")?;
    }
    for index in detached {
        let facts = names.as_ref().and_then(|names| names.by_index(index));
        let name = facts.map_or("an interface that is gone", |facts| &facts.name);
        output::write(format_args!("detached from {name} (ifindex {})\n", index.get()))?;
    }
    let Swept { removed, kept, is_busy } = datapath::sweep(root).map_err(DaemonError::from)?;
    if is_busy {
        output::write("left those of other network namespaces: an announcer is attaching\n")?;
    }
    for path in removed {
        output::write(format_args!(
            "removed {}: of another network namespace, its interface is gone\n",
            path.display()
        ))?;
    }
    for path in kept {
        output::write(format_args!(
            "left {}: of another network namespace, where it may be in use\n",
            path.display()
        ))?;
    }
    Ok(())
}
