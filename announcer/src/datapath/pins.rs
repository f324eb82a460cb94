//! Where maps and link of an interface are pinned:
//! `<root>/<netns cookie>/<ifindex>/{VIPS,…,link}` on a BPF file system.
//!
//! Pins keep the data plane going while no daemon runs, so that a daemon that
//! crashes and comes back within the validity of its VIPs loses nothing.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
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
        let directory = root.join(namespace.to_string());
        let failed = |error| DatapathError::pin("reading", &directory, error);
        let entries = match fs::read_dir(&directory) {
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
        if !self.exists() {
            return Ok(());
        }
        self.remove_link()?;
        let failed = |error| DatapathError::pin("removing", &self.0, error);
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            remove_file(&entry.map_err(failed)?.path())?;
        }
        fs::remove_dir(&self.0).map_err(failed)?;
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
