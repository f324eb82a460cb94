//! keepalived in the nodes of a lab: VRRP on the LAN, the VIP on the uplink of the master,
//! whose kernel answers for it.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use announcer_tests::{
    daemon::{Daemon, Signal},
    lab::{Lab, Node, UPLINK},
};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// One on each node, the first of which goes first.
pub(super) struct Keepaliveds {
    // In the order in which they have to go.
    daemons: Vec<Keepalived>,
    lab: Lab,
    _directory: TempDir,
}

/// Its processes: the parent, and the child that speaks VRRP.
struct Keepalived {
    parent: Daemon,
    vrrp_pid: PathBuf,
}

impl Keepaliveds {
    /// Starts them.
    ///
    /// # Errors
    /// The package is not installed.
    pub(super) fn start(nodes: u8, vip: Ipv4Addr) -> Result<Self> {
        let lab = Lab::new(nodes)?;
        let directory = tempfile::Builder::new().prefix("announcer-keepalived-").tempdir()?;
        // 150, 100, 50.
        let priorities = (1..=nodes).rev().map(|n| n * 50);
        let daemons = lab
            .nodes()
            .iter()
            .zip(priorities)
            .map(|(node, priority)| Keepalived::start(node, priority, vip, directory.path()))
            .collect::<Result<_>>()?;
        Ok(Self { daemons, lab, _directory: directory })
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Sends a signal to all processes on node `n`; SIGTERM to the parent, which ends its
    /// child.
    pub(super) fn signal(&mut self, n: usize, signal: Signal) -> Result<()> {
        let daemon = n.checked_sub(1).and_then(|i| self.daemons.get_mut(i));
        daemon.with_context(|| format!("no keepalived runs on node {n}"))?.signal(signal)
    }
}

impl Keepalived {
    fn start(node: &Node, priority: u8, vip: Ipv4Addr, directory: &Path) -> Result<Self> {
        let file = |end: &str| directory.join(format!("{}.{end}", node.name));
        // Defaults wherever there are any: advertisements each second, preemption.
        let config = format!(
            "global_defs {{\n router_id {}\n}}\n\
             vrrp_instance bench {{\n state BACKUP\n interface {UPLINK}\n virtual_router_id 51\n \
             priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n {vip}/24 dev {UPLINK}\n }}\n}}\n",
            node.name
        );
        fs::write(file("conf"), config)?;
        let mut command = Command::new("keepalived");
        // In the foreground, logging to its output in detail, VRRP only.
        command.args(["-n", "-l", "-D", "-P"]);
        let files = [("-f", "conf"), ("-p", "pid"), ("-r", "vrrp.pid"), ("-c", "checkers.pid")];
        command.args(files.into_iter().flat_map(|(flag, end)| [flag.into(), file(end)]));
        let parent = Daemon::start(command, format!("keepalived on {}", node.name), &node.ns)
            .context("install the package keepalived, e.g. with `cargo xtask setup`")?;
        parent.wait_for_log("Entering BACKUP STATE", Duration::from_secs(20))?;
        Ok(Self { parent, vrrp_pid: file("vrrp.pid") })
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Stop => {
                self.parent.signal(signal)?;
                self.signal_vrrp(libc::SIGSTOP)
            }
            Signal::Cont => {
                self.signal_vrrp(libc::SIGCONT)?;
                self.parent.signal(signal)
            }
            Signal::Kill => {
                // Stopped first: neither is to see the other's end.
                self.signal(Signal::Stop)?;
                self.signal_vrrp(libc::SIGKILL)?;
                self.parent.kill()
            }
            Signal::Term | Signal::Int => self.parent.signal(signal),
        }
    }

    fn signal_vrrp(&self, signal: libc::c_int) -> Result<()> {
        let pid: libc::pid_t = fs::read_to_string(&self.vrrp_pid)?.trim().parse()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // `pid (name) state ppid …`: a number that has been given away is not signalled.
        let mut fields = stat.rsplit_once(')').context("no name")?.1.split_ascii_whitespace();
        let of = fields.nth(1).and_then(|parent| parent.parse().ok());
        ensure!(of == Some(self.parent.pid()), "process {pid} is no child of keepalived");
        // SAFETY: no pointers.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(io::Error::last_os_error()).context("signalling keepalived");
        }
        Ok(())
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        // Both, before the parent's end is waited for. Fails when they have ended.
        let _ = self.signal_vrrp(libc::SIGKILL);
    }
}
