//! The `announcer` command.

use std::process::ExitCode;

use announcer::{
    causes::with_causes,
    cli::{Cli, Command, LogFormat, OverviewArgs, RunArgs},
    config::Config,
    daemon::{self, DaemonError},
    datapath::{self, namespace::InstanceLock},
    doctor,
    exit::{Code, Failure},
    explain,
    observe::{show, socket},
    output, probe,
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
        Ok(code) => code,
        Err(failure) => complain(&failure),
    }
}

fn command(command: Command, effective: &Effective) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => daemon::run(config(*args, effective)?)?,
        Command::Config(args) => {
            config(*args, effective)?;
            output::write(effective)?;
        }
        Command::Status(args) if args.overview.cluster => {
            let OverviewArgs { api, selection, cluster: _ } = &args.overview;
            let overview = runtime()?.block_on(explain::overview(api, selection))?;
            output::show(&overview, overview.wide(), args.output)?;
        }
        Command::Status(args) => runtime()?.block_on(show::show(&args))?,
        Command::Live => runtime()?.block_on(socket::live()).map_err(Failure::unexpected)?,
        Command::Explain(args) => {
            let explanation = runtime()?.block_on(explain::explain(&args))?;
            output::show(&explanation, &explanation, args.output)?;
            return Ok(match explanation.announced {
                Some(true) => ExitCode::SUCCESS,
                Some(false) => ExitCode::from(Code::NotAnnounced as u8),
                None => ExitCode::from(Code::NotPermitted as u8),
            });
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "announcer", &mut script);
            output::write(String::from_utf8_lossy(&script))?;
        }
        Command::Man { directory } => std::fs::create_dir_all(&directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &directory))
            .with_context(|| format!("writing man pages into {}", directory.display()))
            .map_err(Failure::unexpected)?,
        Command::Detach => {
            let _lock = InstanceLock::acquire().map_err(DaemonError::from)?;
            let detached = datapath::detach_all(datapath::DEFAULT_PIN_ROOT.as_ref())
                .map_err(DaemonError::from)?;
            tracing::info!(interfaces = detached.len(), "removed what was left");
        }
        Command::Doctor(args) => doctor::run(&args)?,
        Command::Probe(args) => runtime()?.block_on(probe::run(&args))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn config(args: RunArgs, effective: &Effective) -> Result<Config, Failure> {
    Config::new(args).map_err(|error| {
        let origins = effective.origins(error.flags());
        let mut failure = Failure::from(error);
        if !origins.is_empty() {
            failure.error =
                anyhow::anyhow!("{} ({})", with_causes(failure.error.as_ref()), origins.join(", "));
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

#[expect(clippy::print_stderr, reason = "the last words of a command belong on standard error")]
fn complain(Failure { code, error }: &Failure) -> ExitCode {
    eprintln!("announcer: {}", with_causes(error.as_ref()));
    ExitCode::from(*code as u8)
}
