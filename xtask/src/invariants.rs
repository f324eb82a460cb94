//! Invariants of the architecture that name what is absent, checked by looking
//! for it. ARCHITECTURE.md says why each of them holds.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// Something that certain files must not contain.
struct Invariant {
    /// What holds, as a sentence.
    statement: &'static str,
    /// Which files it is about: beginnings of paths from the root. One that
    /// matches no file is an error, so that a renamed file cannot slip out.
    within: &'static [&'static str],
    /// Which of them may: beginnings of paths.
    except: &'static [&'static str],
    /// What the code must not contain, as whole words; comments don't count.
    absent: &'static [&'static str],
}

const INVARIANTS: &[Invariant] = &[
    Invariant {
        statement: "decisions are pure: no clock, no I/O, no runtime, no client in them",
        within: &[
            "announcer/src/announce/pacing",
            "announcer/src/announce/probing",
            "announcer/src/announce/schedule",
            "announcer/src/conflict",
            "announcer/src/datapath/plan",
            "announcer/src/explain/chain",
            "announcer/src/explain/facts",
            "announcer/src/explain/finding",
            "announcer/src/explain/overview",
            "announcer/src/explain/remedy",
            "announcer/src/explain/table",
            "announcer/src/intent/desired",
            "announcer/src/intent/eligibility",
            "announcer/src/intent/index",
            "announcer/src/intent/rules",
            "announcer/src/ownership/heartbeat",
            "announcer/src/ownership/lease",
            "announcer/src/ownership/machine",
            "announcer/src/ownership/peers",
            "announcer/src/ownership/placement",
            "announcer/src/ownership/profile",
            "announcer/src/ownership/report",
            "announcer/src/ownership/tenures",
            "announcer/src/ownership/timing",
            "announcer/src/ownership/vip",
            "announcer/src/wire_state",
        ],
        except: &[],
        absent: &[
            "BootTime::now",
            "Instant::now",
            "SystemTime",
            "async",
            "aya",
            "kube",
            "libc",
            "pnet",
            "rtnetlink",
            "socket2",
            "std::fs",
            "std::process",
            "std::thread",
            "tokio",
        ],
    },
    Invariant {
        statement: "aya is used in datapath/ only",
        within: &["announcer/src/"],
        except: &["announcer/src/datapath/"],
        absent: &["aya"],
    },
    Invariant {
        statement: "in datapath/, maps.rs and table.rs alone write BPF maps",
        within: &["announcer/src/datapath/"],
        except: &["announcer/src/datapath/maps", "announcer/src/datapath/table"],
        absent: &[".set(", "vips.insert(", "vips.remove("],
    },
    Invariant {
        statement: "nothing but the responder writes BPF maps",
        within: &["announcer/src/"],
        except: &["announcer/src/datapath/", "announcer/src/responder"],
        absent: &["MapOp", "Maps"],
    },
    Invariant {
        statement: "nothing but the responder sends gratuitous ARP",
        within: &["announcer/src/"],
        except: &["announcer/src/announce/", "announcer/src/responder"],
        absent: &["GratuitousSender"],
    },
    Invariant {
        statement: "pnet is used in announce/wire only",
        within: &["announcer/", "tests/"],
        except: &["announcer/src/announce/wire"],
        absent: &["pnet"],
    },
    Invariant {
        statement: "the daemon starts no other programs",
        within: &["announcer/src/"],
        except: &[],
        absent: &["Command::new", "process::Command", "tokio::process"],
    },
    Invariant {
        statement: "network tests know the daemon from outside only: its command line and the wire",
        within: &["tests/"],
        except: &[],
        absent: &["announcer::"],
    },
];

/// Checks every invariant over the sources below `root`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut sources = Vec::new();
    for directory in ["announcer", "announcer-ebpf", "tests", "xtask"] {
        collect(root, Path::new(directory), &mut sources)?;
    }
    let violations: Vec<String> =
        INVARIANTS.iter().flat_map(|invariant| invariant.violations(&sources)).collect();
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(())
}

/// A Rust file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let reading = || format!("reading {}", directory.display());
    for entry in fs::read_dir(root.join(directory)).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let path = directory.join(entry.file_name());
        if entry.file_type().with_context(reading)?.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("reading {}", path.display()))?;
            sources.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
    Ok(())
}

impl Invariant {
    fn violations(&self, sources: &[Source]) -> Vec<String> {
        let mut violations = Vec::new();
        for prefix in self.within {
            let mut files = sources.iter().filter(|s| s.path.starts_with(prefix)).peekable();
            if files.peek().is_none() {
                violations.push(format!("{prefix}: no such file, for: {}", self.statement));
            }
            for source in files.filter(|s| !self.except.iter().any(|e| s.path.starts_with(e))) {
                violations.extend(self.violations_in(source));
            }
        }
        violations
    }

    fn violations_in<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = String> + 'a {
        (1..).zip(source.text.lines()).filter_map(move |(number, line)| {
            let code = line.split("//").next().unwrap_or_default();
            let found = self.absent.iter().find(|absent| has_words(code, absent))?;
            let (path, statement) = (&source.path, self.statement);
            Some(format!("{path}:{number}: {found} breaks: {statement}\n    {}", line.trim()))
        })
    }
}

/// Whether `code` contains `words`, not as a part of longer words.
fn has_words(code: &str, words: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let begins = words.starts_with(in_word);
    let ends = words.ends_with(in_word);
    code.match_indices(words).any(|(at, _)| {
        let before = begins && code[..at].ends_with(in_word);
        let after = ends && code[at + words.len()..].starts_with(in_word);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURE: Invariant = Invariant {
        statement: "it is pure",
        within: &["a/machine"],
        except: &["a/machine/driver"],
        absent: &["tokio", "Instant::now"],
    };

    fn violations(path: &str, text: &str) -> Vec<String> {
        PURE.violations(&[Source { path: path.into(), text: text.into() }])
    }

    #[test]
    fn the_offending_line_and_the_invariant_are_named() {
        let found = violations("a/machine.rs", "fn f() {\n    let t = Instant::now();\n}\n");
        assert_eq!(
            found,
            ["a/machine.rs:2: Instant::now breaks: it is pure\n    let t = Instant::now();"]
        );
    }

    #[test]
    fn comments_and_longer_words_are_no_violation() {
        for text in ["/// No tokio here.", "f(); // tokio", "use tokio_like;", "my_tokio()"] {
            assert_eq!(violations("a/machine/x.rs", text), [""; 0], "{text}");
        }
        for text in ["use tokio::time;", "use {tokio as t};", "tokio"] {
            assert_eq!(violations("a/machine/x.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn other_files_and_exceptions_may() {
        let sources = ["a/machine.rs", "a/machine/driver.rs", "b/machine.rs"]
            .map(|path| Source { path: path.into(), text: "use tokio;".into() });
        assert_eq!(PURE.violations(&sources).len(), 1);
    }

    #[test]
    fn an_invariant_about_no_file_is_an_error() {
        let found = violations("a/engine.rs", "");
        assert_eq!(found, ["a/machine: no such file, for: it is pure"]);
    }
}
