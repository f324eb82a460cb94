//! The `announcer` command.

use std::{io::Write as _, process::ExitCode};

use announcer::{
    cli::{Cli, Command, LogFormat, OutputFormat},
    config::Config,
    daemon::{self, DaemonError},
    datapath::{self, namespace::InstanceLock},
    doctor,
    exit::{Code, Failure},
    probe,
    status::Status,
    types::BootTime,
};
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log(cli.log_format, &cli.log) {
        let error = anyhow::anyhow!("--log {:?}: {error}", cli.log);
        return complain(&Failure { code: Code::Usage, error });
    }
    match command(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

fn command(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => Ok(daemon::run(Config::new(*args)?)?),
        Command::Status(args) => {
            let inspected = datapath::inspect(datapath::DEFAULT_PIN_ROOT.as_ref());
            let found = runtime()?.block_on(inspected).map_err(DaemonError::from)?;
            let status = Status::new(&found, BootTime::now());
            print(&status, args.output).map_err(Failure::unexpected)
        }
        Command::Detach => {
            let _lock = InstanceLock::acquire().map_err(DaemonError::from)?;
            let detached = datapath::detach_all(datapath::DEFAULT_PIN_ROOT.as_ref())
                .map_err(DaemonError::from)?;
            tracing::info!(interfaces = detached.len(), "removed what was left");
            Ok(())
        }
        Command::Doctor(args) => doctor::run(&args),
        Command::Probe(args) => runtime()?.block_on(probe::run(&args)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::unexpected)
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
fn complain(Failure { code, error }: &Failure) -> ExitCode {
    eprintln!("announcer: {error:#}");
    ExitCode::from(*code as u8)
}
