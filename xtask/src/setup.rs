//! The set-up: finds what is missing and installs it. Quick when nothing is.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    image,
    process::{self, Root},
    workspace::Workspace,
};

/// What the set-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building.
    Build,
    /// Linting, which builds what fuzzing does.
    Lint,
    /// Labs and tests too.
    Tests,
    /// What is measured besides.
    Benches,
    /// Fuzzing.
    Fuzz,
    /// The image.
    Image,
}

/// Components of the host toolchain. rust-src is for linting the BPF program:
/// the BPF nightly has no clippy, so the host's checks it with a `core` of its own.
const HOST_COMPONENTS: &[&str] = &["clippy", "rustfmt", "rust-src"];

/// Components of the BPF toolchain: rustup ships no `core` for the BPF target.
const BPF_COMPONENTS: &[&str] = &["rust-src"];

/// A Debian package that tests need, and why.
struct DebianPackage {
    name: &'static str,
    /// What stands for it on a system without dpkg.
    command: &'static str,
    reason: &'static str,
}

const TEST_PACKAGES: &[DebianPackage] = &[
    DebianPackage { name: "iproute2", command: "ip", reason: "looking into labs" },
    DebianPackage {
        name: "iputils-arping",
        command: "arping",
        reason: "a second opinion on who answers ARP",
    },
    DebianPackage { name: "libnet1", command: "arping", reason: "the other arping links to it" },
    DebianPackage { name: "iputils-ping", command: "ping", reason: "pinging VIPs" },
    DebianPackage { name: "tcpdump", command: "tcpdump", reason: "looking at a lab's wire" },
    DebianPackage {
        name: "nftables",
        command: "nft",
        reason: "forwarding in labs, where kube-proxy would do it",
    },
    DebianPackage {
        name: "python3-scapy",
        command: "scapy",
        reason: "asking in odd ways, and taking answers apart",
    },
    DebianPackage { name: "bpftool", command: "bpftool", reason: "looking at programs and maps" },
];

/// What benches need besides.
const BENCH_PACKAGES: &[DebianPackage] = &[
    DebianPackage {
        name: "keepalived",
        command: "keepalived",
        reason: "to measure beside us; it runs in a lab's namespaces only",
    },
    DebianPackage {
        name: "iperf3",
        command: "iperf3",
        reason: "TCP throughput past the program; it runs in namespaces only",
    },
];

/// What the image needs.
const IMAGE_PACKAGES: &[DebianPackage] = &[
    DebianPackage {
        name: "musl-tools",
        command: "musl-gcc",
        reason: "the C code of the static binary (ring's)",
    },
    DebianPackage { name: "buildah", command: "buildah", reason: "an image without a daemon" },
];

/// What fuzzing needs, and to build its targets.
const FUZZ_PACKAGES: &[DebianPackage] =
    &[DebianPackage { name: "g++", command: "c++", reason: "libFuzzer, which is in C++" }];

/// `cargo xtask setup`: everything but what only fuzzing needs, and says so when nothing is missing.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    ensure(workspace, Purpose::Tests)?;
    ensure(workspace, Purpose::Benches)?;
    let pins = &workspace.pins;
    println!(
        "set-up complete: Rust {}, {}, bpf-linker {}, {} Debian packages",
        pins.host,
        pins.bpf,
        pins.bpf_linker,
        TEST_PACKAGES.len() + BENCH_PACKAGES.len() + IMAGE_PACKAGES.len()
    );
    Ok(())
}

/// Installs what is missing for `purpose`; silent when nothing is.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    if process::find_in_path("rustup").is_none() {
        bail!(
            "there is no rustup, which installs the pinned toolchains: install it with \
             `curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh`"
        );
    }
    let pins = &workspace.pins;
    let installed = process::output(process::rustup().args(["toolchain", "list"]))?;
    toolchain(&installed, &pins.host, HOST_COMPONENTS, "everything but the BPF program")?;
    toolchain(&installed, &pins.bpf, BPF_COMPONENTS, "the BPF program, a nightly-only target")?;
    bpf_linker(workspace)?;
    match purpose {
        Purpose::Build => Ok(()),
        Purpose::Lint => debian_packages(FUZZ_PACKAGES),
        Purpose::Tests => {
            debian_packages(TEST_PACKAGES)?;
            debian_packages(FUZZ_PACKAGES)?;
            other_arping(workspace);
            promtool(workspace)?;
            image(workspace)
        }
        Purpose::Benches => {
            debian_packages(TEST_PACKAGES)?;
            debian_packages(BENCH_PACKAGES)
        }
        Purpose::Image => image(workspace),
        Purpose::Fuzz => {
            debian_packages(FUZZ_PACKAGES)?;
            cargo_fuzz(workspace)
        }
    }
}

fn toolchain(installed: &str, name: &str, components: &[&str], builds: &str) -> Result<()> {
    let reason = if has_line_of(installed, name) {
        // Asked only for a toolchain that is there: rustup might install it, whole.
        let list = ["component", "list", "--installed", "--toolchain", name];
        let present = process::output(process::rustup().args(list))?;
        let missing: Vec<&str> =
            components.iter().copied().filter(|c| !has_line_of(&present, c)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        format!("it lacks {}", missing.join(", "))
    } else {
        format!("it builds {builds}")
    };
    announce(&format!("Rust {name}"), &reason);
    let mut install = process::rustup();
    install.args(["toolchain", "install", name, "--profile=minimal", "--no-self-update"]);
    install.args(components.iter().flat_map(|component| ["--component", component]));
    process::run(&format!("installing Rust {name}"), &mut install)
}

/// Whether rustup listed `name`, alone or with a target behind it.
fn has_line_of(listing: &str, name: &str) -> bool {
    let tail = |line: &str| line.strip_prefix(name).map(|tail| tail.starts_with(['-', ' ']));
    listing.lines().any(|line| line == name || tail(line) == Some(true))
}

fn bpf_linker(workspace: &Workspace) -> Result<()> {
    let wanted = &workspace.pins.bpf_linker;
    let found = version_of("bpf-linker");
    if is_version(&found, wanted) {
        return Ok(());
    }
    let reason = match found.trim() {
        "" => "it links the BPF program".to_owned(),
        other => format!("its LLVM must be that of {}; found {other}", workspace.pins.bpf),
    };
    cargo_install(workspace, "bpf-linker", wanted, &reason)
}

fn cargo_fuzz(workspace: &Workspace) -> Result<()> {
    let wanted = &workspace.pins.cargo_fuzz;
    let found = version_of("cargo-fuzz");
    if is_version(&found, wanted) {
        return Ok(());
    }
    let reason = match found.trim() {
        "" => "it builds and runs fuzz targets".to_owned(),
        other => format!("this version was tried; found {other}"),
    };
    cargo_install(workspace, "cargo-fuzz", wanted, &reason)
}

/// What a tool says of its version. One that cannot even tell that is as good as none.
fn version_of(tool: &str) -> String {
    process::output(std::process::Command::new(tool).arg("--version")).unwrap_or_default()
}

fn is_version(found: &str, wanted: &str) -> bool {
    found.split_whitespace().nth(1) == Some(wanted)
}

fn cargo_install(workspace: &Workspace, tool: &str, version: &str, reason: &str) -> Result<()> {
    announce(&format!("{tool} {version} (about a minute)"), reason);
    let mut install = workspace.cargo(["install", tool, "--locked", "--force"]);
    install.args(["--version", version]);
    process::run(&format!("installing {tool}"), &mut install)
}

fn debian_packages(wanted: &'static [DebianPackage]) -> Result<()> {
    let on_debian = process::find_in_path("dpkg-query").is_some();
    let missing: Vec<&DebianPackage> = if on_debian {
        let mut query = std::process::Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]);
        query.args(wanted.iter().map(|package| package.name));
        // It fails when it knows nothing of a package, and lists the others.
        let listing = query.output()?.stdout;
        missing_packages(wanted, &String::from_utf8_lossy(&listing))
    } else {
        let absent = |p: &&DebianPackage| process::find_in_path(p.command).is_none();
        wanted.iter().filter(absent).collect()
    };
    if missing.is_empty() {
        return Ok(());
    }

    for package in &missing {
        announce(package.name, package.reason);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let install = format!("apt-get install {}", names.join(" "));
    if !on_debian || process::find_in_path("apt-get").is_none() {
        let commands: Vec<&str> = missing.iter().map(|package| package.command).collect();
        bail!(
            "this is not a Debian-like system (no dpkg-query, no apt-get): install what \
             provides {} (`{install}` on Debian)",
            commands.join(", ")
        );
    }
    let root = Root::find("installing Debian packages", &install)?;
    let apt = |args: &[&str]| {
        let mut command = root.command("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]).args(args);
        process::run(&format!("apt-get {}", args[0]), &mut command)
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &*names].concat())
}

/// Unpacks the arping of Thomas Habets, another judge of who answers: Debian does not install
/// it beside that of iputils. Tests go without where it is not to be had.
fn other_arping(workspace: &Workspace) {
    if workspace.other_arping().exists() || process::find_in_path("apt-get").is_none() {
        return;
    }
    announce("the other arping (unpacked below the target directory)", "a third opinion");
    if let Err(error) = unpack(&workspace.debian(), "arping") {
        println!("tests go without it: {error:#}");
    }
}

/// Unpacks promtool, which checks the alerts: the package it is in would start a server.
fn promtool(workspace: &Workspace) -> Result<()> {
    if process::find_in_path("promtool").is_some() || workspace.promtool().exists() {
        return Ok(());
    }
    if process::find_in_path("apt-get").is_none() {
        bail!("there is no promtool, which checks the alerts: install that of Prometheus");
    }
    announce("promtool (unpacked below the target directory)", "checking the alerts");
    unpack(&workspace.debian(), "prometheus")
}

/// What the static binary and the image are built with.
fn image(workspace: &Workspace) -> Result<()> {
    let (toolchain, target) = (&workspace.pins.host, image::target());
    let list = ["target", "list", "--installed", "--toolchain", toolchain];
    let installed = process::output(process::rustup().args(list))?;
    if !installed.lines().any(|line| line == target) {
        announce(&format!("Rust {toolchain} for {target}"), "the static binary");
        let mut add = process::rustup();
        add.args(["target", "add", &target, "--toolchain", toolchain]);
        process::run(&format!("installing {target}"), &mut add)?;
    }
    debian_packages(IMAGE_PACKAGES)
}

fn unpack(directory: &Path, package: &str) -> Result<()> {
    fs::create_dir_all(directory)?;
    let script = "apt-get --quiet download \"$1\" && dpkg -x \"$1\"_*.deb .";
    let mut sh = std::process::Command::new("sh");
    sh.args(["-c", script, "sh", package]).current_dir(directory);
    process::run(&format!("unpacking {package}"), &mut sh)
}

fn missing_packages(
    wanted: &'static [DebianPackage],
    listing: &str,
) -> Vec<&'static DebianPackage> {
    let installed = |p: &DebianPackage| {
        listing.lines().any(|line| line.strip_prefix(p.name) == Some(" installed"))
    };
    wanted.iter().filter(|package| !installed(package)).collect()
}

fn announce(what: &str, reason: &str) {
    println!("installing {what}: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_or_component_is_found_by_its_whole_name() {
        let toolchains = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                          1.98.0-x86_64-unknown-linux-gnu\nmine\nlinked (default)\n";
        for there in ["1.98.0", "stable", "mine", "linked"] {
            assert!(has_line_of(toolchains, there), "{there}");
        }
        for absent in ["1.98", "1.9", "nightly-2026-06-25", "min", "98.0"] {
            assert!(!has_line_of(toolchains, absent), "{absent}");
        }
        assert!(!has_line_of("rustc-x86_64-unknown-linux-gnu\n", "rust-src"));
        assert!(has_line_of("rust-src\n", "rust-src"));
    }

    #[test]
    fn a_package_that_was_removed_is_missing() {
        let all: String =
            TEST_PACKAGES.iter().map(|package| format!("{} installed\n", package.name)).collect();
        assert!(missing_packages(TEST_PACKAGES, &all).is_empty());
        let removed = all.replace("bpftool installed", "bpftool config-files");
        let unknown = all.replace("tcpdump installed\n", "");
        for (listing, name) in [(removed, "bpftool"), (unknown, "tcpdump")] {
            let missing: Vec<_> =
                missing_packages(TEST_PACKAGES, &listing).iter().map(|p| p.name).collect();
            assert_eq!(missing, [name]);
        }
    }
}
