//! Flags of `announcer status`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{OverviewArgs, value::duration};

/// Flags of `announcer status`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is told, with a daemon or without, 9 the daemon is stopped \
    or stuck; others as of every command."
)]
pub struct StatusArgs {
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Write it again and again, this far apart.
    ///
    /// Every 2 s if no time is given; on a terminal in the same place.
    #[arg(
        short,
        long,
        env = "ANNOUNCER_WATCH",
        value_name = "INTERVAL",
        num_args = 0..=1,
        default_missing_value = "2s",
        value_parser = interval
    )]
    pub watch: Option<Duration>,
    /// Of a whole cluster.
    #[command(flatten)]
    pub overview: OverviewArgs,
}

/// How a command's result looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people, in 80 columns.
    Table,
    /// For people, with everything.
    Wide,
    /// For programs; with --watch one line each time.
    Json,
    /// The same, written as YAML; with --watch one document each time.
    Yaml,
}

/// To look more often is to be what is looked at.
const LEAST: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map_err(|error| error.to_string())?;
    if interval < LEAST { Err("less than 100ms".to_owned()) } else { Ok(interval) }
}
