//! `cargo xtask image`: the static binary, and an OCI image of it and nothing else.
//!
//! Both are meant to be reproducible: no path of this machine and no time but the commit's
//! goes into them.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{self, Root},
    workspace::Workspace,
};

/// What the image is called where nobody says otherwise.
pub(crate) const ARCHIVE: &str = "announcer.oci.tar";
const DOCKERFILE: &str = "deploy/Dockerfile";
/// What reproducible builds take for the time (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// `[--output FILE]`
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    output: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(args: &[OsString]) -> Result<Self> {
        match args {
            [] => Ok(Self::default()),
            [flag, file] if flag == "--output" => Ok(Self { output: Some(file.into()) }),
            _ => bail!("image takes --output FILE and nothing else"),
        }
    }
}

/// The target triple of the static binary: musl, on the architecture of this machine.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// Builds the binary and the image, and says where they are.
pub(crate) fn build(workspace: &Workspace, options: &Options) -> Result<()> {
    let root = Root::find("building an image (chroot)", "cargo xtask image")?;
    let binary = binary(workspace)?;
    let directory = workspace.image();
    let context = directory.join("context");
    fs::create_dir_all(&context).with_context(|| format!("making {}", context.display()))?;
    fs::copy(&binary, context.join("announcer"))
        .with_context(|| format!("copying {}", binary.display()))?;
    let archive = match &options.output {
        Some(output) => std::path::absolute(output)?,
        None => directory.join(ARCHIVE),
    };
    let digest = pack(workspace, root, &context, &archive)?;
    let size = fs::metadata(&binary)?.len();
    println!("binary: {} ({:.1} MB)", binary.display(), size as f64 / 1e6);
    println!("image: {} ({digest})", archive.display());
    Ok(())
}

/// The binary as it is released, with no path of this machine in it.
fn binary(workspace: &Workspace) -> Result<PathBuf> {
    let target = target();
    let mut build = workspace.cargo(["build", "--package=announcer", "--bin=announcer"]);
    build.args(["--profile=dist", "--locked", "--target", &target]);
    // Apart from what others build meanwhile: cargo locks a target directory.
    let directory = workspace.dist();
    build.arg("--target-dir").arg(&directory);
    let (library, commit) = standard_library(workspace)?;
    let flags: Vec<String> = [
        (workspace.root.clone(), "/announcer".to_owned()),
        (directory.clone(), "/target".to_owned()),
        (cargo_home()?, "/cargo".to_owned()),
        // As it is called where its sources are not installed.
        (library, format!("/rustc/{commit}")),
    ]
    .iter()
    .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
    .collect();
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // ring has C code; what it says of itself in assertions are paths too.
    let prefix = format!("-ffile-prefix-map={}=/cargo", cargo_home()?.display());
    build.env(format!("CC_{}", target.replace('-', "_")), "musl-gcc").env("CFLAGS", prefix);
    build.env(SOURCE_DATE_EPOCH, epoch(workspace));
    process::run("building the static binary", &mut build)?;
    Ok(directory.join(target).join("dist/announcer"))
}

/// Where rustc finds the sources of the standard library, and the commit they are of.
fn standard_library(workspace: &Workspace) -> Result<(PathBuf, String)> {
    let rustc = |arguments: &[&str]| {
        let mut rustc = process::rustup();
        rustc.args(["run", &workspace.pins.host, "rustc"]).args(arguments);
        process::output(&mut rustc)
    };
    let sources = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    let version = rustc(&["--version", "--verbose"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    Ok((sources, commit.context("rustc tells no commit")?.to_owned()))
}

fn cargo_home() -> Result<PathBuf> {
    let home = || env::home_dir().map(|home| home.join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("there is no home directory")
}

/// Makes an OCI archive of the context and returns the digest of its manifest.
///
/// chroot isolation, the vfs driver and storage of our own: no daemon, no user
/// namespaces, no overlay, no FUSE, and nobody else's images are touched.
fn pack(workspace: &Workspace, root: Root, context: &Path, archive: &Path) -> Result<String> {
    let storage = workspace.image().join("storage");
    let buildah = |args: &[&str]| {
        let mut command = root.command("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run")).args(args);
        command
    };
    let name = "announcer:image";
    let argument = |key: &str, value: &str| format!("--build-arg={key}={value}");
    let mut build = buildah(&["build", "--isolation", "chroot", "--format", "oci", "--quiet"]);
    build.args(["--timestamp", &epoch(workspace), "--layers=false"]);
    build.arg(argument("VERSION", env!("CARGO_PKG_VERSION")));
    build.arg(argument("REVISION", &git(workspace, &["rev-parse", "HEAD"]).unwrap_or_default()));
    build.arg("--file").arg(workspace.root.join(DOCKERFILE)).args(["--tag", name]).arg(context);
    process::output(&mut build)?;

    // Another process never sees half an archive.
    let unfinished = archive.with_extension(std::process::id().to_string());
    let digest = workspace.image().join("digest");
    let mut push = buildah(&["push", "--quiet", "--digestfile"]);
    push.arg(&digest).arg(name).arg(format!("oci-archive:{}:latest", unfinished.display()));
    process::output(&mut push)?;
    fs::rename(&unfinished, archive).with_context(|| format!("making {}", archive.display()))?;
    process::output(&mut buildah(&["rmi", "--all", "--force"]))?;
    Ok(fs::read_to_string(&digest).context("reading the digest")?.trim().to_owned())
}

/// Seconds since 1970: SOURCE_DATE_EPOCH, else the time of the commit, else 0.
fn epoch(workspace: &Workspace) -> String {
    let said = env::var(SOURCE_DATE_EPOCH).ok();
    said.or_else(|| git(workspace, &["log", "-1", "--format=%ct"])).unwrap_or_else(|| "0".into())
}

/// `None` where there is no git, or no commit.
fn git(workspace: &Workspace, args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // Root may look at another user's checkout.
    git.args(["-c", "safe.directory=*"]).args(args).current_dir(&workspace.root);
    let said = process::output(&mut git).ok()?;
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_place_can_be_said() {
        let parse =
            |args: &[&str]| Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(parse(&[]).expect("options").output, None);
        assert_eq!(parse(&["--output", "a.tar"]).expect("options").output, Some("a.tar".into()));
        for bad in [&["--output"][..], &["a.tar"], &["--output", "a", "b"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_date_is_that_of_the_commit() {
        let workspace = Workspace::load().expect("a workspace");
        let epoch = epoch(&workspace);
        assert!(epoch.parse::<u64>().is_ok(), "{epoch}");
    }
}
