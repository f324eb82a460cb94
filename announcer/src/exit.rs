//! How commands end.

use crate::{
    client::ClientError,
    config::ConfigError,
    daemon::DaemonError,
    datapath::{DatapathError, namespace::InstanceLockError},
    explain::ExplainError,
};

/// Exit codes, as `--help` and the README list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Nothing of what follows.
    Unexpected = 1,
    /// Wrong flags or settings; clap's own code, too.
    Usage = 2,
    /// A capability or a right is missing; or `explain` cannot tell, for want of one or of
    /// the right namespace.
    NotPermitted = 3,
    /// The kernel is too old, or lacks something.
    Unsupported = 4,
    /// Somebody else is there: another daemon, or another's program.
    Occupied = 5,
    /// An address is answered by nobody, or a Service is not announced: `explain` says why.
    NotAnnounced = 6,
    /// `doctor` found something that must be mended.
    CheckFailed = 7,
    /// Two stations answer for one address.
    Duplicate = 8,
    /// The daemon is there, and does not answer.
    Hung = 9,
}

/// Why a command failed: for people, and for scripts.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What to print, with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// With nothing more to say for scripts.
    pub fn unexpected(error: impl Into<anyhow::Error>) -> Self {
        Self { code: Code::Unexpected, error: error.into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: Code::Usage, error: error.into() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { code: Code::Usage, error: error.into() }
    }
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        let code = match &error {
            ExplainError::Credentials(_) => Code::Usage,
            ExplainError::Gather(..) => Code::Unexpected,
        };
        Self { code, error: error.into() }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self { code: code(&error), error: error.into() }
    }
}

fn code(error: &DaemonError) -> Code {
    match error {
        DaemonError::Datapath(DatapathError::NotPermitted { .. }) => Code::NotPermitted,
        DaemonError::System(_, e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Code::NotPermitted
        }
        DaemonError::Datapath(DatapathError::Unsupported { .. }) => Code::Unsupported,
        DaemonError::Datapath(DatapathError::ForeignProgram { .. })
        | DaemonError::Instance(InstanceLockError::Held(_)) => Code::Occupied,
        DaemonError::Credentials(_) => Code::Usage,
        DaemonError::Datapath(_)
        | DaemonError::Instance(_)
        | DaemonError::System(..)
        | DaemonError::Task(_) => Code::Unexpected,
    }
}
