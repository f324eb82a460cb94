use std::{collections::BTreeSet, io::Write as _, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{cli::Command, config::Config};

fn words(words: &[&str]) -> Vec<OsString> {
    ["announcer"].iter().chain(words).map(OsString::from).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn run_with(text: &str, flags: &[&str]) -> Result<Parsed, SettingsError> {
    let file = file(text);
    let path = file.path().to_str().expect("a path");
    parse(words(&[&["run", "--config", path], flags].concat()))
}

fn origin<'a>(parsed: &'a Parsed, flag: &str) -> &'a Origin {
    &parsed.effective.get(flag).expect(flag).origin
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let text = "# comment\nleaseDuration: 6s\nrenewInterval: 2s\n";
    let parsed = run_with(text, &["--renew-interval", "1500ms"]).expect("valid");
    let Command::Run(args) = &parsed.cli.command else { unreachable!("run was asked for") };
    assert_eq!(args.ownership.timing.lease_duration.as_secs(), 6);
    assert_eq!(args.ownership.timing.renew_interval.as_millis(), 1500);
    assert!(matches!(origin(&parsed, "lease-duration"), Origin::File(_, 2)));
    assert_eq!(*origin(&parsed, "renew-interval"), Origin::Flag);
    assert_eq!(*origin(&parsed, "hook"), Origin::Default);
}

#[test]
fn every_kind_of_value_can_stand_in_a_file() {
    let text = "interface: [ens18, /eth.*/]\nmaxVips: 100\nanswerPing: false\n\
        requireClass: true\nstaticVip: 192.0.2.1\nrebalanceRate: 0.5\nlog: debug\n\
        kubeconfig: null\nprobeInterval: 0\n";
    let parsed = run_with(text, &[]).expect("valid");
    assert_eq!(parsed.cli.log, "debug");
    let Command::Run(args) = parsed.cli.command else { unreachable!("run was asked for") };
    assert_eq!(args.wire.interface.len(), 2);
    assert_eq!(args.max_vips.get(), 100);
    assert!(!args.answer_ping && args.selection.require_class);
    assert_eq!(args.static_vip.len(), 1);
    assert!((args.ownership.rebalance_rate - 0.5).abs() < f64::EPSILON);
    assert_eq!(args.kubernetes.api.kubeconfig, None);
    assert!(args.announcements.probe_interval.is_zero());
}

#[test]
fn a_flag_can_take_back_what_the_file_switches_on() {
    let parsed = run_with("requireClass: true\n", &["--require-class=false"]).expect("valid");
    let Command::Run(args) = parsed.cli.command else { unreachable!("run was asked for") };
    assert!(!args.selection.require_class);
    let bare = parse(words(&["run", "--require-class"])).expect("valid");
    let Command::Run(args) = bare.cli.command else { unreachable!("run was asked for") };
    assert!(args.selection.require_class);
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n# nothing\n", "---\n", "{}\n"] {
        let parsed = run_with(text, &[]).expect(text);
        assert!(parsed.effective.iter().all(|s| !matches!(s.origin, Origin::File(..))), "{text:?}");
    }
}

#[test]
fn errors_name_file_line_and_field() {
    for (text, names) in [
        (
            "leaseDuration: soon\n",
            &[".tmp", "line 1: leaseDuration: \"soon\": not a duration", "500ms"][..],
        ),
        ("\nhook: tc\n", &["line 2", "hook", "\"tc\""]),
        ("silence: loud\n", &["silence", "\"loud\"", "drop"]),
        ("staticVip: [192.0.2.1, web]\n", &["staticVip[1]", "\"web\""]),
        ("hook: [tcx]\n", &["hook", "not a list"]),
        ("hook: {a: b}\n", &["hook", "a word"]),
        ("lease-duration: 3s\n", &["lease-duration", "is it leaseDuration?"]),
        ("leaseduration: 3s\n", &["is it leaseDuration?"]),
        ("colour: red\n", &["colour", "there is no such setting", "interface"]),
        ("config: other\n", &["config", "there is no such setting"]),
        ("- a\n", &["leaseDuration: 3s"]),
        ("leasDuration: 3s\n", &["is it leaseDuration?"]),
        ("intrface: ens18\n", &["is it interface?"]),
        ("maxVips: 0\n", &["line 1: maxVips: \"0\": not a whole number from 1"]),
        ("rebalanceRate: fast\n", &["\"fast\": not a number"]),
        ("vipSeries: -1\n", &["\"-1\": not a whole number"]),
        ("answerPing: maybe\n", &["\"maybe\": not one of true, false"]),
        ("interface: /ens(/\n", &["\"/ens(/\" is not a regular expression: unclosed group"]),
        ("hook: auto\nhook: tcx\n", &["line 2: hook: it is set above already"]),
        ("hook: auto\nhook: 'tcx\n", &["line "]),
        ("hook: *x\n", &["line 1: "]),
    ] {
        let error = run_with(text, &[]).expect_err(text).to_string();
        for name in names {
            assert!(error.contains(name), "{text:?}: {error}");
        }
        assert!(!["Policy", " at ", "\n"].iter().any(|it| error.contains(it)), "{error}");
    }
}

#[test]
fn all_wrong_fields_are_named_at_once_in_order() {
    let error = run_with("maxVips: many\nhook: tc\n", &[]).expect_err("wrong").to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].contains("maxVips") && lines[1].contains("hook"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = parse(words(&["run", "--config", "/no/such/file"])).expect_err("no file");
    assert!(matches!(error, SettingsError::File(FileError::Unreadable { path, .. })
        if path == Path::new("/no/such/file")));
}

#[test]
fn commands_that_share_settings_share_the_file() {
    let file = file("namespace: elsewhere\nhook: tcx\n");
    let path = file.path().to_str().expect("a path");
    for line in [&["explain", "a/b", "--config", path][..], &["--config", path, "explain", "a/b"]] {
        let parsed = parse(words(line)).expect("settings that explain does not have do no harm");
        assert!(matches!(origin(&parsed, "namespace"), Origin::File(_, 1)), "{line:?}");
    }
}

#[test]
fn a_flag_of_the_same_name_may_be_another_setting() {
    let file = file("interface: [ens18, ens19]\n");
    let path = file.path().to_str().expect("a path");
    let parsed = parse(words(&["probe", "192.0.2.1", "--config", path])).expect("valid");
    assert_eq!(*origin(&parsed, "interface"), Origin::Default);
}

#[test]
fn what_is_in_effect_can_be_given_again_as_a_file() {
    let flags = ["run", "--interface", "ens18,/eth[0-9]/", "--require-class", "--node-name", "n"];
    let first = parse(words(&flags)).expect("valid");
    let text = first.effective.to_string();
    let second = run_with(&text, &[]).expect(&text);
    let values = |parsed: &Parsed| -> Vec<_> {
        parsed.effective.iter().map(|s| (s.flag.clone(), s.values.clone())).collect()
    };
    assert_eq!(values(&first), values(&second));
    let Command::Run(args) = second.cli.command else { unreachable!("run was asked for") };
    Config::new(*args).expect("valid");
}

#[test]
fn every_flag_has_a_twin_in_the_environment() {
    for subcommand in cli::command().get_subcommands() {
        for arg in subcommand.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let Some(long) = arg.get_long().filter(|long| *long != "help") else { continue };
            let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let twin = name.expect(long);
            let own = format!("ANNOUNCER_{}_", subcommand.get_name().to_uppercase());
            let expected = format!("ANNOUNCER_{}", long.to_uppercase().replace('-', "_"));
            assert!(twin == expected || twin.starts_with(&own), "{long}: {twin}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd_for_a_file(text in "(?s).{0,200}") {
        let _ = File::new("odd.yaml".into(), &text, &cli::command());
    }
}

/// The environment of this process is every test's: so these ask what is made of variables,
/// and `tests/wire` starts the program with them.
#[test]
fn misspelt_variables_are_named_with_the_nearest() {
    for (name, says) in [
        ("ANNOUNCER_INTERFACES", "is no setting; did you mean ANNOUNCER_INTERFACE?"),
        ("ANNOUNCER_LEASE_DURATOIN", "did you mean ANNOUNCER_LEASE_DURATION?"),
        ("ANNOUNCER_LEASEDURATION", "did you mean ANNOUNCER_LEASE_DURATION?"),
        ("ANNOUNCER_SERVICE_SELECTORS", "did you mean ANNOUNCER_SERVICE_SELECTOR?"),
        ("ANNOUNCER_COLOUR", "is no setting; `announcer run --help`"),
    ] {
        let unknown = unknown_variables([name.into()], &cli::command());
        let [unknown] = unknown.as_slice() else { unreachable!("{name}: {unknown:?}") };
        let said = unknown.to_string();
        assert!(said.starts_with(name) && said.contains(says), "{said}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let names = [
        // A Service called announcer, and one called announcer-metrics with a named port.
        "ANNOUNCER_SERVICE_HOST",
        "ANNOUNCER_SERVICE_PORT",
        "ANNOUNCER_SERVICE_PORT_METRICS",
        "ANNOUNCER_PORT",
        "ANNOUNCER_PORT_9842_TCP",
        "ANNOUNCER_PORT_9842_TCP_PROTO",
        "ANNOUNCER_PORT_9842_TCP_PORT",
        "ANNOUNCER_PORT_9842_TCP_ADDR",
        "ANNOUNCER_METRICS_SERVICE_HOST",
        "ANNOUNCER_METRICS_PORT_9842_TCP",
        "OTHER_INTERFACES",
        "ANNOUNCERS_INTERFACE",
    ];
    let unknown = unknown_variables(names.map(OsString::from), &cli::command());
    assert_eq!(unknown, []);
}

/// Else a Service could set it.
#[test]
fn no_setting_is_named_like_a_variable_of_a_service() {
    let command = cli::command();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    let names = commands.flat_map(clap::Command::get_arguments).filter_map(Arg::get_env);
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.len() > 30, "{names:?}");
    assert_eq!(unknown_variables(names.iter().map(OsString::from), &command), []);
    for name in names {
        assert!(!environment::is_of_service(&name), "{name}");
    }
}

#[test]
fn all_switches_take_the_same_words() {
    let command = cli::command();
    let mut switches = BTreeSet::new();
    for subcommand in command.get_subcommands() {
        for arg in subcommand.get_arguments() {
            let values = arg.get_value_names().unwrap_or_default();
            let is_switch = values.first().is_some_and(|name| *name == "true|false");
            // Nothing is on or off in another way.
            assert!(is_switch || arg.get_action().takes_values() || is_help(arg), "{arg:?}");
            if is_switch {
                switches.insert(arg.get_long().unwrap_or_default().to_owned());
                for word in ["true", "yes", "on", "1", "False", "no", "OFF", "0"] {
                    assert_eq!(check::check(arg, word.as_ref()), Ok(()), "{arg:?} {word}");
                }
                let error = check::check(arg, "maybe".as_ref()).expect_err("no word for a switch");
                assert_eq!(error, "not one of true, false");
            }
        }
    }
    for name in ["answer-ping", "require-class", "no-cluster", "facts", "cluster", "watch"] {
        assert!(switches.contains(name), "{name}: {switches:?}");
    }
}

fn is_help(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

#[test]
fn pings_can_be_left_to_the_kernel_in_any_way_of_writing() {
    let answers = |flags: &[&str]| {
        let parsed = parse(words(&[&["run"], flags].concat())).expect("valid");
        let Command::Run(args) = parsed.cli.command else { unreachable!("run was asked for") };
        args.answer_ping
    };
    assert!(answers(&[]));
    for flags in [&["--answer-ping", "false"][..], &["--answer-ping=off"], &["--answer-ping=no"]] {
        assert!(!answers(flags), "{flags:?}");
    }
    assert!(answers(&["--answer-ping", "--hook", "tcx"]));
}
