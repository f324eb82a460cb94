//! `announcer status`: asks the daemon, or reads what is pinned, and writes it.

use std::io::{self, IsTerminal as _, Write as _};

use super::socket::{self, AskError};
use crate::{
    cli::{OutputFormat, StatusArgs},
    daemon::DaemonError,
    datapath,
    exit::Failure,
    output,
    status::Status,
    types::BootTime,
};

/// Moves to the upper left corner and clears what is below (ECMA-48: CUP, ED).
const REDRAW: &str = "\x1b[H\x1b[J";

/// Writes the status, once or again and again.
///
/// # Errors
/// What is pinned cannot be read, or the output is closed.
pub async fn show(args: &StatusArgs) -> Result<(), Failure> {
    let StatusArgs { output, watch, overview: _ } = *args;
    let mut told = false;
    loop {
        let (status, why) = look().await?;
        let people = matches!(output, OutputFormat::Table | OutputFormat::Wide);
        if let Some(why) = why.filter(|_| people && !std::mem::replace(&mut told, true)) {
            complain(&why);
        }
        print(&status, output, watch.is_some())?;
        let Some(interval) = watch else { return Ok(()) };
        tokio::time::sleep(interval).await;
    }
}

/// What is there to see, and why it is not the daemon who tells.
async fn look() -> Result<(Status, Option<AskError>), Failure> {
    match socket::ask().await {
        Ok(status) => Ok((status, None)),
        Err(why) => {
            let inspected = datapath::inspect(datapath::DEFAULT_PIN_ROOT.as_ref()).await;
            let found = inspected.map_err(|error| {
                let Failure { code, error } = DaemonError::from(error).into();
                Failure { code, error: error.context(why.to_string()) }
            })?;
            Ok((Status::new(&found, BootTime::now()), Some(why)))
        }
    }
}

#[expect(clippy::print_stderr, reason = "beside the output of a command")]
fn complain(why: &AskError) {
    eprintln!("{why}; this is what is pinned:");
}

fn print(status: &Status, format: OutputFormat, again: bool) -> Result<(), Failure> {
    let people = matches!(format, OutputFormat::Table | OutputFormat::Wide);
    match (again, people) {
        (false, _) => {}
        (true, true) => redraw().map_err(Failure::unexpected)?,
        (true, false) => return output::show_next(status, format),
    }
    output::show(status, format_args!("{status:#}"), format)
}

fn redraw() -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}", if out.is_terminal() { REDRAW } else { "\n" })?;
    out.flush()
}
