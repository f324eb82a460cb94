//! The corpus in the repository, without libFuzzer.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use announcer_ebpf::Verdict;
use announcer_fuzz::{announce_frames, maps::Input, seeds, verdict};

fn in_the_repository(target: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(directory).expect("a corpus").map(|file| file.expect("a file"));
    files
        .map(|file| {
            let name = file.file_name().into_string().expect("a name");
            (name, fs::read(file.path()).expect("readable"))
        })
        .collect()
}

#[test]
fn the_corpus_is_what_the_seeds_say() {
    for target in seeds::TARGETS {
        let seeds = seeds::of(target).expect("a target");
        let seeds = seeds.into_iter().map(|(name, octets)| (name.to_owned(), octets)).collect();
        let write = "write it anew: cargo run --manifest-path fuzz/Cargo.toml --example seeds";
        assert!(in_the_repository(target) == seeds, "{target}: {write}");
    }
}

#[test]
fn no_seed_breaks_a_rule() {
    for (_, octets) in in_the_repository("announce_frames") {
        announce_frames::check(&octets);
    }
    for (_, octets) in in_the_repository("verdict") {
        verdict::check(&octets);
        let input = Input::parse(&octets).expect("a whole input");
        assert_eq!(input.to_octets(), octets);
    }
}

#[test]
fn the_seeds_come_to_what_their_names_say() {
    let sent = [
        "request",
        "request-unicast",
        "request-tagged",
        "request-q-in-q",
        "request-tag-beside",
        "probe",
        "echo",
        "echo-zeros",
        "echo-damaged",
    ];
    let dropped = ["request-silent", "request-expired", "probe-silent", "echo-limited"];
    for (name, octets) in seeds::of("verdict").expect("a target") {
        let expected = if sent.contains(&name) {
            Verdict::Transmit
        } else if dropped.contains(&name) {
            Verdict::Drop
        } else {
            Verdict::Pass
        };
        let input = Input::parse(&octets).expect("a whole input");
        assert_eq!(verdict::decide(&input), expected, "{name}");
    }
}
