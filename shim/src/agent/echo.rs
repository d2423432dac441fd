//! The echo agent: says back what it is told, and plays scripts.
//!
//! A prompt that begins with `!` is a script ([`super::script`] lists its directives); any other is
//! said back word by word.

use super::client::Turn;
use super::settings::Settings;
use super::{Done, memory, script};
use crate::acp::message::Fault;

/// Takes a turn. None where there is to be no answer.
pub(super) async fn prompt(
    settings: &Settings,
    turn: &Turn,
    text: &str,
) -> Option<Result<Done, Fault>> {
    let home = &settings.home;
    let count = memory::load::<u64>(home, &turn.session).unwrap_or_default() + 1;
    if let Err(fault) = memory::save(home, &turn.session, &count) {
        return Some(Err(fault));
    }
    if text.starts_with('!') {
        return script::play(turn, count, text).await;
    }
    for word in text.split_inclusive(char::is_whitespace) {
        if turn.cancelled() {
            return Some(Ok(Done { stop_reason: "cancelled", usage: None }));
        }
        turn.say(word).await;
    }
    Some(Ok(Done { stop_reason: "end_turn", usage: None }))
}
