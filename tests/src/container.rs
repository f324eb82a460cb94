//! An image out of its archive, and processes in it as a container runtime starts them.

use std::{
    env,
    ffi::{CStr, CString},
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    ptr,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{confine::confine, deployment::said, netns::NetNs, scratch};

/// Names the archive that `cargo xtask image` has made.
const IMAGE: &str = "ANNOUNCER_IMAGE";

/// An image, unpacked.
#[derive(Debug)]
pub struct Image {
    directory: TempDir,
    /// How it is run (`config` of the OCI image configuration).
    pub config: Value,
    /// How many layers it has.
    pub layers: usize,
}

impl Image {
    /// Unpacks the archive `ANNOUNCER_IMAGE`, else the one that `cargo xtask image` makes.
    ///
    /// # Errors
    /// There is none, or it is no OCI archive.
    pub fn unpack() -> Result<Self> {
        let archive = archive()?;
        let directory = scratch::directory("image")?;
        let layout = directory.path().join("layout");
        extract(&archive, &layout)?;
        let read = |path: &Path| -> Result<Value> {
            let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            Ok(serde_json::from_slice(&text)?)
        };
        let blob = |descriptor: &Value| -> Result<PathBuf> {
            let digest = descriptor["digest"].as_str().context("a descriptor without digest")?;
            Ok(layout.join("blobs").join(digest.replace(':', "/")))
        };
        let index = read(&layout.join("index.json"))?;
        let manifest = read(&blob(&index["manifests"][0])?)?;
        let config = read(&blob(&manifest["config"])?)?["config"].clone();
        let layers = manifest["layers"].as_array().context("a manifest without layers")?;
        let rootfs = directory.path().join("rootfs");
        for layer in layers {
            extract(&blob(layer)?, &rootfs)?;
        }
        let layers = layers.len();
        Ok(Self { directory, config, layers })
    }

    /// What processes see as `/`.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// A command of the image's entry point, in the network of `ns`, with the mounts, the
    /// capabilities and the read-only root of the pods in deploy/: to be started in `ns`.
    ///
    /// # Errors
    /// The image has no entry point.
    pub fn command(&self, ns: &NetNs) -> Result<Command> {
        let entry = self.config["Entrypoint"][0].as_str().context("no entry point")?;
        self.exec(entry, ns)
    }

    /// The same of any program, as `kubectl exec` starts it: one without a slash is looked
    /// for in the image's PATH.
    ///
    /// # Errors
    /// The network namespace is gone.
    pub fn exec(&self, program: &str, ns: &NetNs) -> Result<Command> {
        let mut command = Command::new(program);
        command.env_clear();
        let environment = self.config["Env"].as_array().into_iter().flatten();
        command.envs(environment.filter_map(|pair| pair.as_str()?.split_once('=')));
        let mounts = Mounts::new(&self.rootfs())?;
        let network = File::open(ns.path()).context("opening the network namespace")?;
        // SAFETY: the closure runs between fork and exec and makes system calls only, with
        // strings and a descriptor that it owns.
        unsafe {
            command.pre_exec(move || {
                // First the network: sysfs shows that of whoever mounts it.
                check(libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET))?;
                mounts.enter()
            });
        }
        confine(&mut command);
        Ok(command)
    }
}

/// The archive, beside the profile in whose directory this program is.
fn archive() -> Result<PathBuf> {
    if let Some(archive) = env::var_os(IMAGE).map(PathBuf::from) {
        if !archive.is_file() {
            bail!("{IMAGE} is {}, which is no file", archive.display());
        }
        return Ok(archive);
    }
    let own = env::current_exe().context("looking for the image beside this program")?;
    let mut places = own.ancestors().skip(2).take(2).map(|it| it.join("image/announcer.oci.tar"));
    places.find(|path| path.is_file()).context("there is no image: run `cargo xtask image`")
}

fn extract(archive: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive).arg("--directory").arg(directory);
    said(tar).map(drop)
}

/// What a runtime mounts for a pod of deploy/.
struct Mounts {
    root: CString,
    proc: CString,
    sys: CString,
    bpf: CString,
}

impl Mounts {
    fn new(rootfs: &Path) -> Result<Self> {
        let place = |name: &str| -> Result<CString> {
            Ok(CString::new(rootfs.join(name).as_os_str().as_bytes())?)
        };
        // A runtime makes what it mounts on.
        for name in ["proc", "sys"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        Ok(Self {
            root: CString::new(rootfs.as_os_str().as_bytes())?,
            proc: place("proc")?,
            sys: place("sys")?,
            bpf: place("sys/fs/bpf")?,
        })
    }

    /// For the calling process, in a mount namespace of its own.
    fn enter(&self) -> io::Result<()> {
        let safe = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let bpffs = c"/sys/fs/bpf";
        // SAFETY: no pointers.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
        mount(Some(&self.root), &self.root, None, libc::MS_BIND)?;
        mount(Some(c"proc"), &self.proc, Some(c"proc"), safe)?;
        mount(Some(c"sysfs"), &self.sys, Some(c"sysfs"), safe | libc::MS_RDONLY)?;
        mount(Some(bpffs), &self.bpf, None, libc::MS_BIND)?;
        mount(None, &self.root, None, libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY)?;
        // SAFETY: NUL-terminated strings.
        unsafe {
            check(libc::chroot(self.root.as_ptr()))?;
            check(libc::chdir(c"/".as_ptr()))
        }
    }
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: NUL-terminated strings, or null where mount(2) ignores them.
    check(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, ptr::null())
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
