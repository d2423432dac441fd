//! What is asked of an agent in one run, and whether its answer will do.
//!
//! What holds here: where the run has a schema, the agent is told of it in words, whatever drives it. An
//! answer that does not fit is sent back with what is wrong, [`MAX_CORRECTIONS`] times at most and
//! within the limits of the run: its time, its tokens, its model calls are those of all its rounds.
//!
//! Deliberately absent: the last word. The control plane judges the answer again.

use domain::agent::{Driver, Effort};
use domain::output::{Contract, MAX_CORRECTIONS};
use domain::run::Usage;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use wire::shim::{Ended, Outcome, PromptCommand, failure};

use super::failure::Failure;
use crate::agent::Told;
use crate::report::cut;

/// What is shown to an agent that forgets of its last answer, in bytes.
const SHOWN: usize = 16 * 1024;

/// A run, from its first prompt to its last.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What to ask next.
    pub(super) text: String,
    first: String,
    contract: Option<Contract>,
    corrections: u32,
    deadline: Option<Instant>,
    used: Option<Usage>,
    /// Model calls of the rounds before, as far as they can be counted.
    calls: u32,
}

/// What to do after a round.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The run is over.
    Over(Box<Ended>),
    /// The answer does not fit; the agent is asked again.
    Again {
        /// Which correction it is, from 1 on.
        round: u32,
        /// What is wrong.
        wrong: String,
    },
}

impl Exchange {
    /// What `prompt` asks for.
    pub(super) fn new(prompt: &PromptCommand) -> Result<Self, Failure> {
        let contract = prompt.schema.as_ref().map(Contract::new).transpose();
        let contract =
            contract.map_err(|why| Failure::new(failure::OUTPUT_INVALID, why.to_string()))?;
        let text = match &prompt.schema {
            Some(schema) => format!(
                "{}\n\nAnswer with one JSON value that fits this JSON Schema, and with nothing \
                 else: no words before it or after it.\n\n{schema}",
                prompt.prompt
            ),
            None => prompt.prompt.clone(),
        };
        let (first, corrections, deadline, used, calls) = (text.clone(), 0, None, None, 0);
        Ok(Self { text, first, contract, corrections, deadline, used, calls })
    }

    /// Whether the agent's last message is to be judged.
    pub(super) const fn judges(&self) -> bool {
        self.contract.is_some()
    }

    /// When the run is to have ended. Its time begins when this is first asked for.
    pub(super) fn deadline(&mut self, prompt: &PromptCommand) -> Instant {
        let limit = Duration::from_secs(u64::from(prompt.agent.limits.timeout_seconds));
        *self.deadline.get_or_insert_with(|| Instant::now() + limit)
    }

    /// What our own agents are told beside the prompt.
    pub(super) fn told(&self, prompt: &PromptCommand) -> Value {
        let limits = prompt.agent.limits;
        json!(Told {
            session: prompt.session.to_string(),
            run: prompt.run.to_string(),
            forked_from: prompt.forked_from.as_ref().map(ToString::to_string),
            effort: effort(prompt),
            max_tokens: Some(limits.max_tokens.saturating_sub(self.tokens())),
            max_turns: Some(limits.max_turns.saturating_sub(self.calls)),
        })
    }

    fn tokens(&self) -> u64 {
        self.used.map_or(0, |used| used.input_tokens.saturating_add(used.output_tokens))
    }

    /// What becomes of the run after a round that `ended`, with `answer` as its last message and
    /// `calls` model calls in it, where those can be counted.
    pub(super) fn judge(
        &mut self,
        mut ended: Ended,
        answer: &str,
        calls: Option<u32>,
        prompt: &PromptCommand,
    ) -> Verdict {
        if let Some(more) = ended.usage {
            let before = self.used.unwrap_or_default();
            self.used = Some(Usage {
                input_tokens: before.input_tokens.saturating_add(more.input_tokens),
                output_tokens: before.output_tokens.saturating_add(more.output_tokens),
            });
        }
        // What cannot be counted is one at least.
        self.calls = self.calls.saturating_add(calls.unwrap_or(1).max(1));
        ended.usage = self.used;
        let Some(contract) = self.contract.as_ref().filter(|_| ended.outcome == Outcome::Completed)
        else {
            return Verdict::Over(Box::new(ended));
        };
        let wrong = match contract.read(answer) {
            Ok(value) => {
                ended.structured = Some(value);
                return Verdict::Over(Box::new(ended));
            }
            Err(wrong) => wrong,
        };
        let limits = prompt.agent.limits;
        let failure = if self.corrections == MAX_CORRECTIONS {
            Failure::new(failure::OUTPUT_INVALID, &wrong)
        } else if self.tokens() >= limits.max_tokens {
            Failure::new(failure::TOKEN_LIMIT, "the run used up its tokens")
        } else if self.calls >= limits.max_turns {
            Failure::new(failure::TURN_LIMIT, "the run used up its model calls")
        } else {
            self.corrections += 1;
            self.text = self.correction(prompt.agent.driver, &wrong, answer);
            return Verdict::Again { round: self.corrections, wrong };
        };
        let (usage, stop_reason) = (ended.usage, ended.stop_reason);
        Verdict::Over(Box::new(Ended { usage, stop_reason, ..failure.into_ended() }))
    }

    fn correction(&self, driver: Driver, wrong: &str, answer: &str) -> String {
        let again = format!(
            "Your answer does not fit: {wrong}\n\nAnswer again, with one JSON value that fits the \
             JSON Schema and with nothing else."
        );
        match driver {
            Driver::Acp | Driver::Vanilla => again,
            // These forget what they were asked.
            Driver::Process | Driver::Http => {
                let shown = &answer[..answer.floor_char_boundary(SHOWN)];
                format!("{}\n\nYou answered before:\n\n{shown}\n\n{again}", self.first)
            }
        }
    }
}

/// How much the agent is to think.
pub(super) fn effort(prompt: &PromptCommand) -> Option<Effort> {
    prompt.effort.or(prompt.agent.effort)
}

/// The reason of a correction, for an event.
pub(super) fn told(round: u32, wrong: &str) -> Value {
    json!({ "round": round, "reason": cut::line(wrong, 600) })
}
