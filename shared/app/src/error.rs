//! How a use case fails, without a word of HTTP, and the one place where that becomes a problem.

use domain::Refused;
use domain::agent::Reclaimed;
use domain::key::Scope;
use domain::session::{NotForked, NotQueued};
use wire::{Problem, ProblemKind};

use crate::ports::{BlobError, ComputeError, UploadError, WorkspaceError};

/// Why a use case did not do it. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing in the caller's realm.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// There is no such upload in the caller's realm.
    #[error("there is no such upload: it was taken, or has expired, or never was")]
    NoSuchUpload,
    /// The bytes of the upload are not there, or not as many as were announced.
    #[error("the upload has not been put: it has {0} bytes, which go to its `url` first")]
    UploadIncomplete(u64),
    /// There is no working key.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The key may not.
    #[error("the key lacks the scope `{}`", <&str>::from(*.0))]
    ScopeMissing(Scope),
    /// The realm may not.
    #[error("the realm is suspended; its operator can let it go on")]
    RealmSuspended,
    /// The state does not accept it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is not at the version asked for.
    #[error("it is at version {actual}, not {asked}")]
    VersionMismatch {
        /// The version it is at.
        actual: u64,
        /// The version that was asked for.
        asked: u64,
    },
    /// Somebody else was faster, again and again.
    #[error("somebody else changed it at the same moment; read it again and retry")]
    Conflict,
    /// The realm's policy does not let it.
    #[error("{0}")]
    Policy(&'static str),
    /// It is built in.
    #[error("a built-in template does not change; clone it")]
    BuiltIn,
    /// The agent works.
    #[error("the agent has {0} runs in flight; say `force` to stop them")]
    AgentBusy(usize),
    /// The realm holds as many as it may.
    #[error("the realm may hold {limit} {what} and holds as many")]
    QuotaReached {
        /// What it holds.
        what: &'static str,
        /// How many it may hold.
        limit: u32,
    },
    /// The run does not wait for such an answer.
    #[error("the run does not wait for an answer to this request")]
    NotAsked,
    /// As many prompts as the realm allows wait already.
    #[error("{0} prompts wait already; try again when one has ended")]
    QueueFull(usize),
    /// The session is not forked, and not because of the state it is in.
    #[error(transparent)]
    NotForked(NotForked),
    /// The agent is in a container for good.
    #[error("the agent is in {0}, and its workspace with it")]
    Placed(domain::ContainerId),
    /// The agent is in a container for good, which is not like the profile that was asked for.
    #[error(
        "the agent is in {0}, which has another profile; `containerProfile` is for a new container"
    )]
    Shaped(domain::ContainerId),
    /// The container was made for one agent, which has to go first or with it.
    #[error("the container belongs to the agent {0}: delete that")]
    Owned(domain::AgentId),
    /// The realm runs as many containers as it may, and as many wait as may.
    #[error("the realm runs as many containers as it may, and no more may wait; try again later")]
    CapacityExhausted,
    /// The agent has nothing left to work with.
    #[error(transparent)]
    Reclaimed(#[from] Reclaimed),
    /// A value breaks a rule.
    #[error("{field} {detail}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// There is something else than a file.
    #[error("{0} is not a file")]
    NotAFile(String),
    /// There is something where it should go, or where a directory of its path should be.
    #[error("{0} is in the way")]
    InTheWay(String),
    /// The workspace is in a container, which would not see what changes.
    #[error("the agent's container has the workspace; pause the agent or wait until it is idle")]
    WorkspaceInUse,
    /// Runs work with it.
    #[error("the agent has {0} runs in flight; wait for their end or cancel them")]
    RunsInFlight(usize),
    /// A rollback of it, or an import into it, is being carried out.
    #[error("the workspace is being rolled back or imported into; try again when that is done")]
    BeingRenewed,
    /// More than one transfer moves.
    #[error("one file or archive has at most 500 MiB")]
    TransferTooLarge,
    /// More than a snapshot holds.
    #[error(
        "the workspace has more than is kept of one: at most 100000 entries and 10 GiB, or what \
         `maxWorkspaceFiles` and `maxWorkspaceBytes` of the realm say"
    )]
    WorkspaceTooLarge,
    /// The workspace would be as large as all that an agent may have on disk.
    #[error("nothing was written: with it {0}")]
    DiskFull(domain::limits::Passed),
    /// An answer cannot be judged by this schema.
    #[error(transparent)]
    OutputSchema(#[from] domain::output::BadSchema),
    /// The archive is refused as a whole.
    #[error("{0}")]
    InvalidArchive(String),
    /// Nothing has such paths.
    #[error("nothing matches {}", .0.join(", "))]
    Unmatched(Vec<String>),
    /// A query parameter is malformed.
    #[error("{field} {detail}")]
    Parameter {
        /// The parameter.
        field: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The cursor is not one of this list.
    #[error("the cursor did not come from a page of this list")]
    Cursor,
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used before for another request")]
    KeyReused,
    /// Another request with this idempotency key is being carried out.
    #[error("a request with this idempotency key is being carried out")]
    InProgress,
    /// The platform refuses, for a reason the caller can act on.
    #[error("{0}")]
    Platform(String),
    /// Something behind the control plane does not answer.
    #[error("something behind the control plane does not answer; try again")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is to be stopped first is on its way out.
    #[error("what runs is being stopped; try again in a moment")]
    Leaving,
    /// A mistake of ours.
    #[error("the control plane failed")]
    Bug(&'static str),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict(_) => Self::Conflict,
            store::Error::Invalid(what) => Self::Bug(what),
            store::Error::Unavailable(source) => Self::Unavailable(source),
        }
    }
}

impl From<ComputeError> for Error {
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::Refused(why) => Self::Platform(why),
            ComputeError::Unavailable(source) => Self::Unavailable(source),
            ComputeError::Leaving => Self::Leaving,
        }
    }
}

impl From<WorkspaceError> for Error {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::NotAFile(path) => Self::NotAFile(path.to_string()),
            WorkspaceError::InTheWay(path) => Self::InTheWay(path.to_string()),
            WorkspaceError::NotHere => Self::Bug("nobody asks for a directory that is not here"),
            WorkspaceError::Unavailable(source) => Self::Unavailable(Box::new(source)),
        }
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<UploadError> for Error {
    fn from(UploadError(source): UploadError) -> Self {
        Self::Unavailable(source)
    }
}

impl From<NotQueued> for Error {
    fn from(error: NotQueued) -> Self {
        match error {
            NotQueued::Refused(refused) => Self::Refused(refused),
            NotQueued::Full(waiting) => Self::QueueFull(waiting),
        }
    }
}

impl From<NotForked> for Error {
    fn from(error: NotForked) -> Self {
        match error {
            NotForked::Refused(refused) => Self::Refused(refused),
            NotForked::Unsupported | NotForked::Full => Self::NotForked(error),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        use ProblemKind as K;
        let kind = match &error {
            Error::NotFound(_) => K::NotFound,
            Error::NoSuchUpload => K::NoSuchUpload,
            Error::UploadIncomplete(_) => K::UploadIncomplete,
            Error::Unauthenticated(_) => K::Unauthenticated,
            Error::ScopeMissing(_) => K::ScopeMissing,
            Error::RealmSuspended => K::RealmSuspended,
            Error::Refused(_) => K::StateRefused,
            Error::VersionMismatch { .. } => K::VersionMismatch,
            Error::Conflict => K::Conflict,
            Error::Policy(_) => K::PolicyRefused,
            Error::BuiltIn => K::BuiltIn,
            Error::AgentBusy(_) => K::AgentBusy,
            Error::QuotaReached { .. } => K::QuotaReached,
            Error::QueueFull(_) => K::QueueFull,
            Error::NotForked(NotForked::Unsupported) => K::ForkUnsupported,
            Error::NotForked(NotForked::Full) => K::QuotaReached,
            Error::NotForked(NotForked::Refused(_)) => K::StateRefused,
            Error::NotAFile(_) => K::NotAFile,
            Error::InTheWay(_) => K::InTheWay,
            Error::WorkspaceInUse | Error::RunsInFlight(_) | Error::BeingRenewed => K::AgentBusy,
            Error::TransferTooLarge => K::TransferTooLarge,
            Error::WorkspaceTooLarge | Error::DiskFull(_) => K::WorkspaceTooLarge,
            Error::OutputSchema(_) => K::InvalidOutputSchema,
            Error::InvalidArchive(_) => K::InvalidArchive,
            Error::Unmatched(_) => K::UnmatchedExports,
            Error::CapacityExhausted => K::CapacityExhausted,
            Error::Reclaimed(_) => K::AgentReclaimed,
            Error::NotAsked | Error::Placed(_) | Error::Shaped(_) | Error::Owned(_) => {
                K::StateRefused
            }
            Error::Invalid { .. } => K::InvalidValue,
            Error::Parameter { .. } => K::InvalidParameter,
            Error::Cursor => K::InvalidCursor,
            Error::KeyReused => K::IdempotencyKeyReused,
            Error::InProgress => K::IdempotencyInProgress,
            Error::Platform(_) | Error::Unavailable(_) | Error::Leaving => K::Unavailable,
            Error::Bug(_) => K::Internal,
        };
        if let Error::Unavailable(source) = &error {
            let mut chain = source.to_string();
            let mut cause = source.source();
            while let Some(inner) = cause {
                chain = format!("{chain}: {inner}");
                cause = inner.source();
            }
            tracing::error!(error = chain, "something behind the control plane failed");
        }
        if let Error::Bug(what) = error {
            tracing::error!(what, "the control plane failed");
        }
        let problem = Self::new(kind, error.to_string());
        if let Error::Invalid { field, detail } = error {
            problem.at(field, detail)
        } else if let Error::Parameter { field, detail } = error {
            problem.at(field, detail)
        } else {
            problem
        }
    }
}
