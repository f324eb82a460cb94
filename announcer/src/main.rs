//! The `announcer` command.

use std::{io::Write as _, process::ExitCode};

use announcer::{
    cli::{Cli, Command, LogFormat, OutputFormat},
    config::Config,
    daemon::{self, DaemonError},
    datapath::{
        self, DatapathError,
        namespace::{InstanceLock, InstanceLockError},
    },
    status::Status,
    types::BootTime,
};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Exit codes, as `--help` and the README list them (2 is also clap's).
const UNEXPECTED: u8 = 1;
const USAGE: u8 = 2;
const NOT_PERMITTED: u8 = 3;
const UNSUPPORTED: u8 = 4;
const OCCUPIED: u8 = 5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log(cli.log_format, &cli.log) {
        return complain(USAGE, &anyhow::anyhow!("--log {:?}: {error}", cli.log));
    }
    match command(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => complain(code, &error),
    }
}

fn command(command: Command) -> Result<(), (u8, anyhow::Error)> {
    match command {
        Command::Run(args) => {
            let config = Config::new(*args).map_err(|e| (USAGE, e.into()))?;
            daemon::run(config).map_err(|e| (code(&e), e.into()))
        }
        Command::Status(args) => {
            let inspected = datapath::inspect(datapath::DEFAULT_PIN_ROOT.as_ref());
            let found = runtime()?.block_on(inspected).map_err(DaemonError::from);
            let status = Status::new(&found.map_err(|e| (code(&e), e.into()))?, BootTime::now());
            print(&status, args.output).map_err(|e| (UNEXPECTED, e))
        }
        Command::Detach => {
            let lock = InstanceLock::acquire().map_err(DaemonError::from);
            let _lock = lock.map_err(|e| (code(&e), e.into()))?;
            let detached = datapath::detach_all(datapath::DEFAULT_PIN_ROOT.as_ref())
                .map_err(DaemonError::from)
                .map_err(|e| (code(&e), e.into()))?;
            tracing::info!(interfaces = detached.len(), "removed what was left");
            Ok(())
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, (u8, anyhow::Error)> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| (UNEXPECTED, e.into()))
}

fn code(error: &DaemonError) -> u8 {
    match error {
        DaemonError::Datapath(DatapathError::NotPermitted { .. }) => NOT_PERMITTED,
        DaemonError::System(_, e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            NOT_PERMITTED
        }
        DaemonError::Datapath(DatapathError::Unsupported { .. }) => UNSUPPORTED,
        DaemonError::Datapath(DatapathError::ForeignProgram { .. })
        | DaemonError::Instance(InstanceLockError::Held(_)) => OCCUPIED,
        DaemonError::Datapath(_)
        | DaemonError::Credentials(_)
        | DaemonError::Instance(_)
        | DaemonError::System(..)
        | DaemonError::Task(_) => UNEXPECTED,
    }
}

fn log(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// An error, not a panic, when nobody reads it any more.
fn print(status: &Status, format: OutputFormat) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        OutputFormat::Table => write!(out, "{status}")?,
        OutputFormat::Json => {
            serde_json::to_writer_pretty(&mut out, status)?;
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

#[expect(clippy::print_stderr, reason = "the last words of a command belong on standard error")]
fn complain(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("announcer: {error:#}");
    ExitCode::from(code)
}
