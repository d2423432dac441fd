//! How runs end when they do not end by themselves.

use wire::shim::{Ended, Outcome, failure};

use crate::acp::message::{AUTH_REQUIRED, Fault};
use crate::report::cut;

/// The longest detail, in bytes.
const DETAIL: usize = 1000;

/// Why something cannot go on.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, detail: impl AsRef<str>) -> Self {
        Self { code, detail: cut::line(detail.as_ref(), DETAIL) }
    }

    /// What an agent's error means.
    pub(crate) fn from_fault(fault: &Fault) -> Self {
        let known = [
            failure::MODEL_ERROR,
            failure::MODEL_UNAVAILABLE,
            failure::LOOP,
            failure::TURN_LIMIT,
            failure::TOKEN_LIMIT,
            failure::PROCESS_FAILED,
            failure::HTTP_ERROR,
            failure::EGRESS_DENIED,
            failure::OUTPUT_LIMIT,
        ];
        let stable = known.into_iter().find(|code| fault.stable_code() == Some(code));
        let code = match fault.code {
            AUTH_REQUIRED => failure::AUTH_REQUIRED,
            _ => stable.unwrap_or(failure::AGENT_ERROR),
        };
        Self::new(code, fault.told())
    }

    pub(crate) fn into_ended(self) -> Ended {
        Ended {
            outcome: Outcome::Failed,
            stop_reason: None,
            code: Some(self.code.to_owned()),
            detail: Some(self.detail),
            usage: None,
            structured: None,
        }
    }
}

/// A run that was stopped as asked.
pub(crate) fn cancelled() -> Ended {
    Ended {
        outcome: Outcome::Cancelled,
        stop_reason: None,
        code: None,
        detail: None,
        usage: None,
        structured: None,
    }
}
