//! Anonymous network namespaces, held by a file descriptor.
//!
//! A namespace vanishes with its last reference: the descriptors held here, and
//! the processes and sockets inside. So nothing is left behind when a test is
//! killed. `ip netns exec` is not used: it mounts a fresh /sys, in which pins in
//! /sys/fs/bpf cannot be seen.

use std::{
    ffi::CString,
    fmt, fs,
    io::{self, Write},
    marker::PhantomData,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::spawn;

/// Where the daemon pins its programs and maps, by namespace cookie.
const PINS: &str = "/sys/fs/bpf/announcer";
const NAMES: &str = "/run/netns";
/// From linux/bpf.h; statfs of a bpffs mount.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// A network namespace of our own; clones refer to the same one.
#[derive(Clone)]
pub struct NetNs(Arc<Inner>);

struct Inner {
    fd: OwnedFd,
    label: String,
    cookie: u64,
}

impl NetNs {
    /// Makes a namespace with `lo` up and IPv6 off (so that neither duplicate-address
    /// detection nor router solicitations put frames on the lab's wires). `label` is
    /// what messages call it.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, and when `ip` is missing; both say what to do.
    pub fn new(label: impl Into<String>) -> Result<Self> {
        let label = label.into();
        // Unsharing changes the calling thread for good, so a thread is spent on it.
        let (fd, cookie) = on_thread("lab-unshare", || {
            // SAFETY: unshare takes no pointers and concerns this new thread only.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                let error = io::Error::last_os_error();
                bail!("cannot make a network namespace ({error}): run as root, e.g. with sudo");
            }
            let fd = fs::File::open("/proc/thread-self/ns/net")?.into();
            Ok((fd, cookie()?))
        })?;
        let ns = Self(Arc::new(Inner { fd, label, cookie }));
        for scope in ["all", "default"] {
            // The file is absent where the kernel has no IPv6, which serves as well.
            let _ = ns.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1");
            ns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// What messages call this namespace.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// A path under which other programs (`nsenter --net=`, `ip link … netns`) find
    /// this namespace while this process lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.fd.as_raw_fd()).into()
    }

    /// The namespace's cookie, unique until reboot (SO_NETNS_COOKIE, Linux 5.14).
    pub fn cookie(&self) -> u64 {
        self.0.cookie
    }

    /// Where a daemon inside pins its programs and maps, one directory for each ifindex.
    pub fn pins(&self) -> PathBuf {
        Path::new(PINS).join(self.cookie().to_string())
    }

    /// Moves the calling thread into the namespace until the guard is dropped.
    ///
    /// # Errors
    /// When setns is refused (CAP_SYS_ADMIN).
    pub fn enter(&self) -> Result<Entered> {
        let original = fs::File::open("/proc/thread-self/ns/net")?.into();
        set_ns(self.0.fd.as_raw_fd()).with_context(|| format!("entering {self:?}"))?;
        Ok(Entered { original, _not_send: PhantomData })
    }

    /// Runs `work` on a thread of its own inside the namespace. A panic inside goes on
    /// in the caller.
    ///
    /// # Errors
    /// Those of `work`, and when the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread("lab-inside", || {
            // The thread ends with its namespace: no need to go back.
            set_ns(self.0.fd.as_raw_fd()).with_context(|| format!("entering {self:?}"))?;
            work()
        })
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    pub(crate) fn settle(&self) -> io::Result<()> {
        set_ns(self.0.fd.as_raw_fd())
    }

    /// Starts `command` inside the namespace. The child gets SIGKILL when this process
    /// dies, however it dies.
    ///
    /// # Errors
    /// When the program is not found or cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let fd = self.0.fd.as_raw_fd();
        let parent = std::process::id();
        // SAFETY: the closure runs between fork and exec and makes only system calls that
        // are async-signal-safe; `fd` stays open because `self` outlives the spawn.
        unsafe {
            command.pre_exec(move || {
                set_ns(fd)?;
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // A parent that died before the prctl will send nothing any more.
                if libc::getppid().unsigned_abs() != parent {
                    libc::_exit(1);
                }
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        spawn::spawn(command).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(&program),
            _ => anyhow!(error).context(format!("starting {program} in {self:?}")),
        })
    }

    /// Runs a tool inside to its end, with `input` on its standard input, and returns
    /// what it printed.
    ///
    /// # Errors
    /// When the tool is missing (the error says which package has it) or fails (the
    /// error carries what it printed on standard error).
    pub fn tool(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args);
        self.output(command, input)
    }

    /// The same for a command that has been put together.
    ///
    /// # Errors
    /// As [`Self::tool`].
    pub fn output(&self, mut command: Command, input: &str) -> Result<String> {
        let said = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // A tool that fails early closes the pipe; its own message says why.
            scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
            child.wait_with_output()
        })
        .with_context(|| format!("running {said} in {self:?}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{said} in {self:?}: {}: {}\n{input}", output.status, why.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ip` commands inside, one a line, without the leading `ip`.
    ///
    /// # Errors
    /// As [`Self::tool`].
    pub fn ip(&self, commands: &str) -> Result<String> {
        self.tool("ip", &["-batch", "-"], commands)
    }

    /// Loads an nftables ruleset inside.
    ///
    /// # Errors
    /// As [`Self::tool`].
    pub fn nft(&self, ruleset: &str) -> Result<String> {
        self.tool("nft", &["-f", "-"], ruleset)
    }

    /// Writes a setting of the namespace; `key` is a path below /proc/sys.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that looks.
        self.run(|| {
            fs::write(Path::new("/proc/sys").join(key), value)
                .with_context(|| format!("setting {key} to {value}"))
        })
    }

    /// Makes the namespace visible as `/run/netns/announcer-<name>-<pid>` (for `ip -n`
    /// and `nsenter --net=`) until the guard is dropped. Names that processes left behind
    /// when they were killed are removed first.
    ///
    /// # Errors
    /// When /run/netns cannot be written.
    pub fn publish(&self, name: &str) -> Result<Published> {
        fs::create_dir_all(NAMES)?;
        remove_abandoned();
        let path = Path::new(NAMES).join(format!("announcer-{name}-{}", std::process::id()));
        fs::File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        let published = Published { path };
        bind_mount(&self.path(), &published.path)
            .with_context(|| format!("mounting {}", published.path.display()))?;
        Ok(published)
    }
}

impl fmt::Debug for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {}", self.0.label)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Daemons that were killed leave their pins; nobody else can have this cookie.
        let _ = fs::remove_dir_all(Path::new(PINS).join(self.cookie.to_string()));
    }
}

/// The calling thread is inside a namespace; dropping this brings it back. Bound to
/// its thread.
#[derive(Debug)]
pub struct Entered {
    original: OwnedFd,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Refused only without CAP_SYS_ADMIN, which entering needed too. A thread that
        // went on in the wrong namespace would spoil whatever runs on it next.
        if set_ns(self.original.as_raw_fd()).is_err() {
            std::process::abort();
        }
    }
}

/// A name under /run/netns; dropping this removes it.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
}

impl Published {
    /// The name, as `ip -n` takes it.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        remove_name(&self.path);
    }
}

/// Mounts bpffs on /sys/fs/bpf where the machine has not done so.
///
/// # Errors
/// Without CAP_SYS_ADMIN or without BPF in the kernel.
pub fn ensure_bpffs() -> Result<()> {
    let target = c"/sys/fs/bpf";
    // Mounting twice would hide the pins of whoever came first, so processes take turns.
    let _turn = fs::File::open("/sys/fs").and_then(|dir| dir.lock().map(|()| dir))?;
    // SAFETY: all zeros is a valid statfs, which is plain old data.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a valid, writable statfs.
    let known = unsafe { libc::statfs(target.as_ptr(), &mut stat) } == 0;
    if known && stat.f_type == BPF_FS_MAGIC {
        return Ok(());
    }
    // SAFETY: NUL-terminated strings; bpffs needs no mount data.
    let mounted = unsafe {
        libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
    };
    if mounted != 0 {
        let error = io::Error::last_os_error();
        bail!("cannot mount bpffs ({error}): as root, `mount -t bpf bpf /sys/fs/bpf`");
    }
    Ok(())
}

/// Runs `work` on a new thread to its end; its panic becomes the caller's.
fn on_thread<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn set_ns(fd: RawFd) -> io::Result<()> {
    // SAFETY: setns takes no pointers; a descriptor of another kind is refused.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The cookie of the calling thread's namespace.
fn cookie() -> Result<u64> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
    let mut cookie = 0u64;
    let mut len: libc::socklen_t = 8;
    // SAFETY: SO_NETNS_COOKIE writes 8 bytes, which `cookie` has room for and `len` says.
    let got = unsafe {
        let value = std::ptr::from_mut(&mut cookie).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            value,
            &mut len,
        )
    };
    if got != 0 {
        let error = io::Error::last_os_error();
        bail!("the kernel has no namespace cookies ({error}): labs need Linux 5.15 or later");
    }
    Ok(cookie)
}

fn bind_mount(from: &Path, to: &Path) -> io::Result<()> {
    let from = CString::new(from.as_os_str().as_bytes())?;
    let to = CString::new(to.as_os_str().as_bytes())?;
    let none = std::ptr::null();
    // SAFETY: NUL-terminated paths; a bind mount reads neither type nor data.
    match unsafe { libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, none.cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn remove_name(path: &Path) {
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        // SAFETY: a NUL-terminated path. Not a mount point: nothing happens.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
    let _ = fs::remove_file(path);
}

/// Removes names whose process is gone.
fn remove_abandoned() {
    for entry in fs::read_dir(NAMES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .filter(|name| name.starts_with("announcer-"))
            .and_then(|name| name.rsplit_once('-'))
            .and_then(|(_, pid)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove_name(&entry.path());
        }
    }
}

fn missing(program: &str) -> anyhow::Error {
    let package = match program {
        "ip" | "bridge" | "tc" => "iproute2",
        "nft" => "nftables",
        "arping" => "iputils-arping",
        "iperf3" => "iperf3",
        other => return anyhow!("{other} is not found"),
    };
    anyhow!("`{program}` is missing: run `cargo xtask setup`, or `apt-get install {package}`")
}
