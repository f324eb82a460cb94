//! `announcer status`: asks the daemon, or reads what is pinned, and writes it.

use std::io::{self, IsTerminal as _, Write as _};

use super::socket::{self, AskError};
use crate::{
    cli::{OutputFormat, StatusArgs},
    daemon::DaemonError,
    datapath,
    exit::{Code, Failure},
    output,
    status::{Daemon, Status},
    types::BootTime,
};

/// Moves to the upper left corner and clears what is below (ECMA-48: CUP, ED).
const REDRAW: &str = "\x1b[H\x1b[J";

/// Writes the status, once or again and again.
///
/// # Errors
/// [`Code::Hung`] after it has been written, if the daemon is there and does not answer.
/// What is pinned cannot be read, or the output is closed.
pub async fn show(args: &StatusArgs) -> Result<(), Failure> {
    let StatusArgs { output, watch, overview: _ } = *args;
    let mut told = false;
    loop {
        let (status, why) = look().await?;
        print(&status, output, watch.is_some())?;
        let Some(interval) = watch else { return why.map_or(Ok(()), |why| end(why, output)) };
        if let Some(why) =
            why.filter(|_| is_for_people(output) && !std::mem::replace(&mut told, true))
        {
            complain(&why);
        }
        tokio::time::sleep(interval).await;
    }
}

/// What is there to see, and why it is not the daemon who tells.
async fn look() -> Result<(Status, Option<AskError>), Failure> {
    let why = match socket::ask().await {
        Ok(status) => return Ok((status, None)),
        Err(why) => why,
    };
    let inspected = datapath::inspect(datapath::DEFAULT_PIN_ROOT.as_ref()).await;
    let found = inspected.map_err(|error| {
        let Failure { code, error } = DaemonError::from(error).into();
        Failure { code, error: error.context(why.to_string()) }
    })?;
    let daemon = match &why {
        AskError::NoDaemon => Daemon::Absent,
        AskError::Silent { holder, .. } => Daemon::Hung(holder.clone()),
        why => Daemon::Unknown { error: why.to_string() },
    };
    Ok((Status::new(&found, BootTime::now()).with_unasked(daemon), Some(why)))
}

/// That there is no daemon is no failure, and programs read it in what was written.
fn end(why: AskError, format: OutputFormat) -> Result<(), Failure> {
    if matches!(why, AskError::Silent { .. }) {
        return Err(Failure { code: Code::Hung, error: why.into() });
    }
    if is_for_people(format) {
        complain(&why);
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "beside the output of a command")]
fn complain(why: &AskError) {
    // It may name another process by its own words.
    eprintln!("{}; this is what is pinned", output::harmless(&why.to_string()));
}

const fn is_for_people(format: OutputFormat) -> bool {
    matches!(format, OutputFormat::Table | OutputFormat::Wide)
}

fn print(status: &Status, format: OutputFormat, again: bool) -> Result<(), Failure> {
    match (again, is_for_people(format)) {
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
