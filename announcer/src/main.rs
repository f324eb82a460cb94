//! The `announcer` command.

use std::{io::Write as _, process::ExitCode};

use announcer::{
    cli::{Cli, Command, LogFormat, RunArgs},
    config::Config,
    daemon::{self, DaemonError},
    datapath::{self, namespace::InstanceLock},
    exit::{Code, Failure},
    observe::show,
    settings::{self, Effective, Parsed, SettingsError},
};
use anyhow::Context as _;
use clap::CommandFactory as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Parsed { cli, effective } = match settings::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        // Prints what was asked for, or what is wrong.
        Err(SettingsError::CommandLine(error)) => error.exit(),
        Err(SettingsError::File(error)) => {
            return complain(&Failure { code: Code::Usage, error: error.into() });
        }
    };
    if let Err(error) = log(cli.log_format, &cli.log) {
        let error = anyhow::anyhow!("--log {:?}: {error}", cli.log);
        return complain(&Failure { code: Code::Usage, error });
    }
    match command(cli.command, &effective) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

fn command(command: Command, effective: &Effective) -> Result<(), Failure> {
    match command {
        Command::Run(args) => Ok(daemon::run(config(*args, effective)?)?),
        Command::Config(args) => {
            config(*args, effective)?;
            print(|out| write!(out, "{effective}").map_err(Into::into))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "announcer", &mut script);
            print(|out| out.write_all(&script).map_err(Into::into))
        }
        Command::Man { directory } => std::fs::create_dir_all(&directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &directory))
            .with_context(|| format!("writing man pages into {}", directory.display()))
            .map_err(Failure::unexpected),
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

fn config(args: RunArgs, effective: &Effective) -> Result<Config, Failure> {
    Config::new(args).map_err(|error| {
        let origins = effective.origins(error.flags());
        let mut failure = Failure::from(error);
        if !origins.is_empty() {
            failure.error = anyhow::anyhow!("{:#} ({})", failure.error, origins.join(", "));
        }
        failure
    })
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
fn print(
    what: impl FnOnce(&mut std::io::StdoutLock<'_>) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    what(&mut out).and_then(|()| Ok(out.flush()?)).map_err(Failure::unexpected)
}

#[expect(clippy::print_stderr, reason = "the last words of a command belong on standard error")]
fn complain(Failure { code, error }: &Failure) -> ExitCode {
    eprintln!("announcer: {error:#}");
    ExitCode::from(*code as u8)
}
