//! Problems: RFC 9457 details with a stable code, one kind for each way to fail.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// Every way a request can fail. Append-only: a code, once published, keeps its meaning.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProblemKind {
    /// The body is not JSON, or not of the shape the operation takes. `errors` says where.
    InvalidBody,
    /// A path or query parameter is not of the shape the operation takes.
    InvalidParameter,
    /// The cursor did not come from a page of this list.
    InvalidCursor,
    /// The `Idempotency-Key` header is not 1 to 128 visible ASCII characters.
    InvalidIdempotencyKey,
    /// There is no API key, or it is malformed, unknown, expired or revoked.
    Unauthenticated,
    /// The API key lacks the scope that the operation needs.
    ScopeMissing,
    /// The realm is suspended.
    RealmSuspended,
    /// There is no such thing in this realm.
    NotFound,
    /// There is no such upload in this realm: it was taken, or has expired, or never was.
    NoSuchUpload,
    /// There is no such operation.
    NoSuchRoute,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The thing is in a state that does not accept the operation. `detail` lists what it accepts.
    StateRefused,
    /// Somebody else changed it at the same moment; read it again and retry.
    Conflict,
    /// It is not at the version that `If-Match` names.
    VersionMismatch,
    /// A built-in thing does not change.
    BuiltIn,
    /// The agent has a run in flight; say `force` to stop it.
    AgentBusy,
    /// The agent cannot go on from a copy of a conversation.
    ForkUnsupported,
    /// The realm holds as many as it may.
    QuotaReached,
    /// As many prompts as the realm allows wait already.
    QueueFull,
    /// The realm runs as many containers as it may, and as many wait as may: try again later.
    CapacityExhausted,
    /// The agent's workspace has been removed, because it was archived for so long.
    AgentReclaimed,
    /// The body is longer than the operation takes.
    BodyTooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The answer cannot be given in any form the `Accept` header names.
    NotAcceptable,
    /// The key was used before for another request.
    IdempotencyKeyReused,
    /// A request with the same key is being carried out.
    IdempotencyInProgress,
    /// A value breaks a rule that its type cannot express. `errors` says which.
    InvalidValue,
    /// The realm's policy does not let it.
    PolicyRefused,
    /// There is something else than a file at this path.
    NotAFile,
    /// Something is in the way of what should go there.
    InTheWay,
    /// The upload's bytes are not there, or not as many as were announced.
    UploadIncomplete,
    /// More than one transfer moves.
    TransferTooLarge,
    /// The workspace has more than a snapshot holds, or would have all that an agent may have on disk.
    WorkspaceTooLarge,
    /// The schema of an output is none, or asks for more than is judged here.
    InvalidOutputSchema,
    /// The body is not an archive that can be imported.
    InvalidArchive,
    /// Nothing has such a path.
    UnmatchedExports,
    /// The file has no byte of the range that was asked for.
    RangeNotSatisfiable,
    /// Something behind the control plane does not answer; try again.
    Unavailable,
    /// The control plane failed. The request id finds the reason in its log.
    Internal,
}

impl ProblemKind {
    /// The HTTP status it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidBody
            | Self::InvalidParameter
            | Self::InvalidCursor
            | Self::InvalidIdempotencyKey
            | Self::InvalidArchive
            | Self::InvalidOutputSchema => 400,
            Self::Unauthenticated => 401,
            Self::ScopeMissing | Self::RealmSuspended | Self::PolicyRefused => 403,
            Self::NotFound | Self::NoSuchUpload | Self::NoSuchRoute => 404,
            Self::AgentReclaimed => 410,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::StateRefused
            | Self::Conflict
            | Self::BuiltIn
            | Self::AgentBusy
            | Self::ForkUnsupported
            | Self::NotAFile
            | Self::InTheWay
            | Self::UploadIncomplete
            | Self::IdempotencyInProgress => 409,
            Self::VersionMismatch => 412,
            Self::BodyTooLarge | Self::TransferTooLarge | Self::WorkspaceTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::UnmatchedExports | Self::InvalidValue | Self::IdempotencyKeyReused => 422,
            Self::QuotaReached | Self::QueueFull => 429,
            Self::Internal => 500,
            Self::CapacityExhausted | Self::Unavailable => 503,
        }
    }

    /// Whether the operator has something to look into: the control plane failed, or something behind it.
    /// A realm that runs as much as it may is neither.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Internal | Self::Unavailable)
    }

    /// What it is called, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidBody => "The body is not what the operation takes",
            Self::InvalidParameter => "A parameter is not what the operation takes",
            Self::InvalidCursor => "The cursor is not one of this list",
            Self::InvalidIdempotencyKey => "The idempotency key is malformed",
            Self::Unauthenticated => "A working API key is needed",
            Self::ScopeMissing => "The API key may not do this",
            Self::RealmSuspended => "The realm is suspended",
            Self::NotFound => "There is no such thing",
            Self::NoSuchUpload => "There is no such upload",
            Self::NoSuchRoute => "There is no such operation",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::StateRefused => "It is not in a state for that",
            Self::Conflict => "Somebody else changed it",
            Self::VersionMismatch => "It is not at that version",
            Self::BuiltIn => "A built-in thing does not change",
            Self::AgentBusy => "The agent is busy",
            Self::ForkUnsupported => "The agent cannot fork a conversation",
            Self::QuotaReached => "The realm's quota is reached",
            Self::QueueFull => "The session's queue is full",
            Self::CapacityExhausted => "The realm runs as much as it may",
            Self::AgentReclaimed => "The agent's workspace is gone",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::NotAcceptable => "No acceptable form of the answer",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::IdempotencyInProgress => "The first request with this key is not done",
            Self::InvalidValue => "A value is not allowed",
            Self::PolicyRefused => "The realm's policy does not let it",
            Self::NotAFile => "It is not a file",
            Self::InTheWay => "Something is in the way",
            Self::UploadIncomplete => "The upload is not complete",
            Self::TransferTooLarge => "It is more than one transfer moves",
            Self::WorkspaceTooLarge => "The workspace has more than it may",
            Self::InvalidOutputSchema => "The schema cannot judge an answer",
            Self::InvalidArchive => "The archive cannot be imported",
            Self::UnmatchedExports => "Nothing has such a path",
            Self::RangeNotSatisfiable => "The file has no such range",
            Self::Unavailable => "Something behind the control plane does not answer",
            Self::Internal => "The control plane failed",
        }
    }

    /// The stable code, as it is written.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// Problem details (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI reference that names the kind: `urn:reeve:problem:<code>`.
    #[serde(rename = "type")]
    #[schemars(length(max = 120))]
    pub type_uri: Cow<'static, str>,
    /// What the kind is called.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time. Never a secret, never an inner error.
    pub detail: String,
    /// The stable code programs act on.
    pub code: ProblemKind,
    /// Where in the request, for each place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The request's id, which finds it in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// One place in a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// The field, as a path with dots; empty for the whole.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem of `kind`, with what happened this time.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:reeve:problem:{}", kind.code()).into(),
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            code: kind,
            errors: Vec::new(),
            instance: None,
        }
    }

    /// The same, pointing at `field`.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), detail: detail.into() });
        self
    }
}
