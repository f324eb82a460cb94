//! Temporary directories that a killed process does not leave behind for ever.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A directory below the system's place for temporary files, named after this process
/// and `what`. Those of processes that are gone are removed on this occasion.
///
/// # Errors
/// Those of making a directory.
pub(crate) fn directory(what: &str) -> Result<TempDir> {
    sweep();
    let prefix = format!("announcer-{what}-{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().context("making a temporary directory")
}

fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_abandoned) {
            // Another process may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether this is a name of ours, of a process that is gone.
fn is_abandoned(name: &str) -> bool {
    let mut parts = name.strip_prefix("announcer-").unwrap_or_default().split('-');
    let (what, pid, random) = (parts.next(), parts.next(), parts.next());
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
    what.is_some()
        && random.is_some()
        && parts.next().is_none()
        && pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_process_left_behind_is_removed() {
        let own = std::process::id();
        // Linux has no process of this number (PID_MAX_LIMIT is 2^22).
        for (name, abandoned) in [
            ("announcer-lab-4194305-aB3xYz", true),
            (&format!("announcer-lab-{own}-aB3xYz"), false),
            ("announcer-lab-aB3xYz", false),
            ("announcer-4194305-aB3xYz", false),
            ("other-lab-4194305-aB3xYz", false),
        ] {
            assert_eq!(is_abandoned(name), abandoned, "{name}");
        }
    }
}
