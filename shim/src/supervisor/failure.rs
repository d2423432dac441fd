//! How runs end when they do not end by themselves.

use domain::instance::AuthMethod;
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
    /// The ways to log in that the agent offers, where that is what it wants.
    pub(crate) log_ins: Vec<AuthMethod>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, detail: impl AsRef<str>) -> Self {
        Self { code, detail: cut::line(detail.as_ref(), DETAIL), log_ins: Vec::new() }
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

    /// The same of an agent that offers these ways to log in: they are told where that is what it wants.
    pub(crate) fn offering(mut self, log_ins: &[AuthMethod]) -> Self {
        if self.code == failure::AUTH_REQUIRED && !log_ins.is_empty() {
            let ids: Vec<_> = log_ins.iter().map(|one| one.id.as_str()).collect();
            let told = format!("{} (ways to log in: {})", self.detail, ids.join(", "));
            self.detail = cut::line(&told, DETAIL);
            self.log_ins = log_ins.to_vec();
        }
        self
    }

    pub(crate) fn into_ended(self) -> Ended {
        Ended {
            outcome: Outcome::Failed,
            stop_reason: None,
            code: Some(self.code.to_owned()),
            detail: Some(self.detail),
            usage: None,
            structured: None,
            auth_methods: self.log_ins,
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
        auth_methods: Vec::new(),
    }
}
