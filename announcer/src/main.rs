//! The `announcer` command.

use std::process::ExitCode;

use announcer::{
    cli::{Cli, Command, LogFormat},
    config::Config,
    daemon::{self, DaemonError},
    datapath::{self, namespace::InstanceLock},
    exit::{Code, Failure},
    observe::show,
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
        Command::Status(args) => runtime()?.block_on(show::show(args)),
        Command::Detach => {
            let _lock = InstanceLock::acquire().map_err(DaemonError::from)?;
            let detached = datapath::detach_all(datapath::DEFAULT_PIN_ROOT.as_ref())
                .map_err(DaemonError::from)?;
            tracing::info!(interfaces = detached.len(), "removed what was left");
            Ok(())
        }
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

#[expect(clippy::print_stderr, reason = "the last words of a command belong on standard error")]
fn complain(Failure { code, error }: &Failure) -> ExitCode {
    eprintln!("announcer: {error:#}");
    ExitCode::from(*code as u8)
}
