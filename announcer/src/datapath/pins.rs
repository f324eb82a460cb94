//! Where maps and link of an interface are pinned:
//! `<root>/<netns cookie>/<ifindex>/{VIPS,…,link}` on a BPF file system.
//!
//! Pins keep the data plane going while no daemon runs, so that a daemon that
//! crashes and comes back within the validity of its VIPs loses nothing.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{error::DatapathError, link::Link, namespace::NetnsCookie};
use crate::types::IfIndex;

/// Where BPF file systems are mounted by convention.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// The default root of all pins.
pub const DEFAULT_PIN_ROOT: &str = "/sys/fs/bpf/announcer";

/// Name of the pinned link, beside the maps.
const LINK: &str = "link";

/// Mounts a BPF file system where there is none, if `root` is to be on it.
///
/// # Errors
/// [`DatapathError::NoBpfFs`].
pub(crate) fn ensure_bpffs(root: &Path) -> Result<(), DatapathError> {
    let mount_point = if root.starts_with(BPFFS) { Path::new(BPFFS) } else { root };
    let no_bpffs = |source| DatapathError::NoBpfFs { path: mount_point.into(), source };
    // Daemons of several namespaces may start at once; a second mount on top
    // would hide the pins in the first.
    let directory = fs::File::open(mount_point).map_err(no_bpffs)?;
    directory.lock().map_err(no_bpffs)?;
    if is_bpffs(mount_point).map_err(no_bpffs)? {
        return Ok(());
    }
    mount_bpffs(mount_point).map_err(no_bpffs)?;
    tracing::info!(path = %mount_point.display(), "mounted a BPF file system");
    Ok(())
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    // SAFETY: statfs is integers, for which zeroes are values.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated path and room for the answer; both outlive the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut facts) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The C library decides of what type they are: signed in glibc, unsigned in musl.
    Ok(i128::from(facts.f_type) == i128::from(libc::BPF_FS_MAGIC))
}

fn mount_bpffs(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: terminated strings that outlive the call; no data.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How often a lock is tried for, and how long after the other: longer than a sweep takes.
const LOCK_TRIES: u32 = 40;
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Keeps [`sweep`] away from pins that are being made or taken over, until it is dropped.
///
/// It waits without holding anybody up, and not for ever: whoever has the lock may hang.
///
/// # Errors
/// [`DatapathError::Pin`], also when somebody else has it all the time.
pub(crate) async fn lock_shared(root: &Path) -> Result<fs::File, DatapathError> {
    let failed = |error| DatapathError::pin("locking", root, error);
    // For root alone: whoever can open it can lock it.
    let directory = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    let directory = directory.and_then(|()| fs::File::open(root)).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match directory.try_lock_shared() {
            Ok(()) => return Ok(directory),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(failed(io::Error::new(
        io::ErrorKind::WouldBlock,
        "another process has it locked, as `announcer detach` does; `fuser` names it",
    )))
}

/// What other network namespaces have pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Of interfaces that are no more, and removed now.
    pub removed: Vec<PathBuf>,
    /// Left alone: it may be in use, or about to be.
    pub kept: Vec<PathBuf>,
    /// A daemon was attaching somewhere: nothing was looked at.
    pub is_busy: bool,
}

/// Removes what is pinned for other network namespaces and can never be used again: a link
/// whose interface is gone cannot be attached anew, and no daemon adopts its maps. Whether
/// a namespace still is cannot be told from outside; that of an interface with a live link
/// is.
pub(crate) fn sweep(root: &Path, own: NetnsCookie) -> Result<Swept, DatapathError> {
    let mut swept = Swept::default();
    let failed = |error| DatapathError::pin("reading", root, error);
    let directory = match fs::File::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        directory => directory.map_err(failed)?,
    };
    match directory.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(Swept { is_busy: true, ..swept }),
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_own = path.file_name().is_some_and(|name| *name == *own.to_string());
        if is_own || !path.is_dir() {
            continue;
        }
        for (_, pins) in PinDir::in_directory(&path)? {
            let is_dead = Link::pinned(&pins.link())
                .and_then(|link| link.interface())
                .is_ok_and(|interface| interface.is_none());
            if is_dead {
                pins.remove()?;
                swept.removed.push(pins.0);
            } else {
                swept.kept.push(pins.0);
            }
        }
    }
    Ok(swept)
}

/// The pins of one interface.
#[derive(Clone, Debug)]
pub(crate) struct PinDir(PathBuf);

impl PinDir {
    pub(crate) fn new(root: &Path, namespace: NetnsCookie, index: IfIndex) -> Self {
        Self(root.join(namespace.to_string()).join(index.get().to_string()))
    }

    /// All that there are in a network namespace.
    pub(crate) fn all(
        root: &Path,
        namespace: NetnsCookie,
    ) -> Result<Vec<(IfIndex, Self)>, DatapathError> {
        Self::in_directory(&root.join(namespace.to_string()))
    }

    /// All that there are in the directory of a network namespace, if there is one.
    fn in_directory(directory: &Path) -> Result<Vec<(IfIndex, Self)>, DatapathError> {
        let failed = |error| DatapathError::pin("reading", directory, error);
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let index = name.and_then(|name| name.parse().ok()).and_then(IfIndex::new);
            found.extend(index.map(|index| (index, Self(path))));
        }
        Ok(found)
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn link(&self) -> PathBuf {
        self.0.join(LINK)
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    pub(crate) fn create(&self) -> Result<(), DatapathError> {
        fs::create_dir_all(&self.0).map_err(|error| DatapathError::pin("creating", &self.0, error))
    }

    /// Pins a link in the place of the one that is pinned, which is detached.
    pub(crate) fn put_link(&self, link: &Link) -> Result<(), DatapathError> {
        self.create()?;
        self.remove_link()?;
        let path = self.link();
        link.pin(&path).map_err(|error| DatapathError::pin("pinning", path, error))
    }

    /// Detaches, and removes the link.
    fn remove_link(&self) -> Result<(), DatapathError> {
        let path = self.link();
        match Link::pinned(&path).and_then(|link| link.detach()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DatapathError::pin("detaching", path, error))
            }
            _ => remove_file(&path),
        }
    }

    /// Removes whatever is pinned: the link first, so that nothing is answered
    /// out of maps that are half gone.
    pub(crate) fn remove(&self) -> Result<(), DatapathError> {
        self.remove_link()?;
        let failed = |error| DatapathError::pin("removing", &self.0, error);
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let entries = match fs::read_dir(&self.0) {
            Err(error) if is_gone(&error) => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            remove_file(&entry.map_err(failed)?.path())?;
        }
        match fs::remove_dir(&self.0) {
            Err(error) if !is_gone(&error) => return Err(failed(error)),
            _ => {}
        }
        // The namespace's directory goes with its last interface.
        if let Some(namespace) = self.0.parent() {
            let _not_empty = fs::remove_dir(namespace);
        }
        Ok(())
    }
}

fn remove_file(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DatapathError::pin("removing", path, error))
        }
        _ => Ok(()),
    }
}
