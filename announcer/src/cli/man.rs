//! The man pages: one for the program, one for each command.

use std::{fs, io, path::Path};

use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// Writes them into a directory, which is made if it is missing.
///
/// # Errors
/// It cannot be made, or not be written.
pub fn write_man_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut program = super::command().disable_help_subcommand(true);
    // What every command has is then in each.
    program.build();
    let commands = program.get_subcommands().cloned();
    for command in std::iter::once(program.clone()).chain(commands) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let path = directory.join(format!("{name}.1"));
        fs::write(path, page(command)?)?;
    }
    Ok(())
}

fn page(mut command: clap::Command) -> io::Result<Vec<u8>> {
    let is_program = command.has_subcommands();
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Not every flag, which the sections that follow have.
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let mut page = Vec::new();
    // In sections of their own, which have better titles than EXTRA.
    Man::new(command.after_help(None).override_usage(usage))
        .source(concat!("announcer ", env!("CARGO_PKG_VERSION")))
        .manual("announcer")
        .render(&mut page)?;
    let (codes, notes): (Vec<_>, Vec<_>) =
        notes.split("\n\n").filter(|it| !it.is_empty()).partition(|it| it.starts_with(CODES));
    let mut rest = Roff::new();
    section(&mut rest, "EXIT STATUS", &codes);
    section(&mut rest, "NOTES", &notes);
    if !is_program {
        section(&mut rest, "SEE ALSO", &["announcer(1)"]);
    }
    // What both parts begin with is there already.
    page.extend(rest.to_roff().into_bytes());
    Ok(page)
}

const CODES: &str = "Exit codes: ";

fn section(roff: &mut Roff, title: &str, paragraphs: &[&str]) {
    for (i, paragraph) in paragraphs.iter().enumerate() {
        match i {
            0 => roff.control("SH", [title]),
            _ => roff.control("PP", []),
        };
        roff.text([roman(paragraph.strip_prefix(CODES).unwrap_or(paragraph))]);
    }
}
