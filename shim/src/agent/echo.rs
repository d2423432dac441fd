//! The echo agent: says back what it is told, and plays scripts.
//!
//! A prompt that begins with `!` is a script ([`super::script`] lists its directives); any other is
//! said back word by word.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::client::Turn;
use super::settings::Settings;
use super::{Done, memory, script};
use crate::acp::message::Fault;

/// How many prompts it remembers the words of, and how many bytes of each.
const REMEMBERED: usize = 32;
const WORDS: usize = 100;

/// What it remembers of a conversation.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Heard {
    /// How many prompts it has had.
    pub(super) count: u64,
    /// What the last of them said that were no scripts.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub(super) prompts: VecDeque<String>,
}

impl Heard {
    fn hear(&mut self, text: &str) {
        self.count += 1;
        if !text.starts_with('!') {
            self.prompts.push_back(text[..text.floor_char_boundary(WORDS)].to_owned());
        }
        if self.prompts.len() > REMEMBERED {
            self.prompts.pop_front();
        }
    }
}

/// Takes a turn. None where there is to be no answer.
pub(super) async fn prompt(
    settings: &Settings,
    turn: &Turn,
    text: &str,
) -> Option<Result<Done, Fault>> {
    let home = &settings.home;
    let mut heard: Heard = memory::load(home, &turn.session).unwrap_or_default();
    heard.hear(text);
    if let Err(fault) = memory::save(home, &turn.session, &heard) {
        return Some(Err(fault));
    }
    if text.starts_with('!') {
        return script::play(turn, &heard, text).await;
    }
    for word in text.split_inclusive(char::is_whitespace) {
        if turn.cancelled() {
            return Some(Ok(Done { stop_reason: "cancelled", usage: None }));
        }
        turn.say(word).await;
    }
    Some(Ok(Done { stop_reason: "end_turn", usage: None }))
}
