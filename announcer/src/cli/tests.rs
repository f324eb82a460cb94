use super::*;

/// As a terminal of 80 columns has room for beside ten blanks.
const LINE: usize = 70;

fn built() -> clap::Command {
    let mut command = command();
    command.build();
    command
}

fn help_of(name: &str, is_long: bool) -> String {
    let mut command = built();
    let subcommand = command.find_subcommand_mut(name).expect(name);
    let help = if is_long { subcommand.render_long_help() } else { subcommand.render_help() };
    help.to_string()
}

/// With what every command has.
fn flags(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|long| !matches!(long, "help" | "version")))
}

#[test]
fn help_of_run_goes_by_what_operators_look_for() {
    let titles = [
        "Interface and wire:",
        "VIPs and selection:",
        "Kubernetes:",
        "Ownership timing:",
        "Announcements and conflicts:",
        "Observability:",
        "Log and settings file:",
    ];
    for is_long in [false, true] {
        let help = help_of("run", is_long);
        let found: Vec<_> = help.lines().filter(|line| titles.contains(line)).collect();
        assert_eq!(found, titles, "{help}");
    }
    let command = built();
    let run = command.find_subcommand("run").expect("run");
    for arg in flags(run) {
        assert!(arg.get_help_heading().is_some(), "{arg} has no heading");
    }
}

#[test]
fn short_help_is_a_line_for_each_flag_and_long_help_says_more() {
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        for arg in command.get_arguments() {
            let short = arg.get_help().expect("a help").to_string();
            assert!(short.len() <= LINE && !short.contains('\n'), "{arg}: {short}");
            assert!(!short.ends_with('.') && !short.is_empty(), "{arg}: {short}");
        }
        let about = command.get_about().expect("what it does").to_string();
        assert!(about.len() <= 85 && !about.contains('\n'), "{}: {about}", command.get_name());
        let (short, long) = (help_of(command.get_name(), false), help_of(command.get_name(), true));
        assert!(short.len() < long.len());
        assert!(!short.contains("[env:"), "{short}");
    }
}

#[test]
fn long_help_and_man_pages_name_the_variable_and_the_field_of_each_flag() {
    let directory = tempfile::tempdir().expect("a directory");
    write_man_pages(directory.path()).expect("written");
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let help = help_of(name, true);
        let path = directory.path().join(format!("announcer-{name}.1"));
        let page = std::fs::read_to_string(path).expect(name).replace("\\-", "-");
        for arg in flags(command) {
            let flag = arg.get_long().unwrap_or_default();
            let variable = arg.get_env().expect(flag).to_string_lossy();
            let said = format!("[env: {variable}]");
            for text in [&help, &page] {
                assert!(text.contains(&format!("--{flag}")), "{flag}: {text}");
                assert!(text.contains(&said), "{flag}: {text}");
            }
            if name == "run" && flag != "config" {
                let said = format!("{said} [file: {}]", field_of(flag));
                assert!(help.contains(&said) && page.contains(&said), "{said}");
            }
        }
    }
}

#[test]
fn man_pages_have_titles() {
    let directory = tempfile::tempdir().expect("a directory");
    write_man_pages(directory.path()).expect("written");
    let page = |name: &str| {
        std::fs::read_to_string(directory.path().join(name)).expect(name).replace("\\-", "-")
    };
    let titles = |page: &str| -> Vec<String> {
        let titles = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        titles.map(|title| title.trim_matches('"').to_owned()).collect()
    };
    let run = page("announcer-run.1");
    let expected = ["INTERFACE AND WIRE", "OWNERSHIP TIMING", "OBSERVABILITY", "SEE ALSO"];
    for title in expected {
        assert!(titles(&run).contains(&title.to_owned()), "{title}: {run}");
    }
    assert!(run.contains(concat!("announcer ", env!("CARGO_PKG_VERSION"))), "{run}");
    let program = page("announcer.1");
    for title in ["SUBCOMMANDS", "EXIT STATUS"] {
        assert!(titles(&program).contains(&title.to_owned()), "{title}: {program}");
    }
    let probe = page("announcer-probe.1");
    for title in ["EXIT STATUS", "NOTES"] {
        assert!(titles(&probe).contains(&title.to_owned()), "{title}: {probe}");
    }
}
