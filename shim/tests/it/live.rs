//! What is said right now: how often, and how it fits together.

use std::time::Instant;

use serde_json::Value;

use crate::given::prompt;
use crate::plane::{Plane, Setup};

/// What the pieces add up to. Each begins where the one before ended.
fn joined(live: &[Value]) -> String {
    let mut text = String::new();
    for piece in live {
        assert_eq!(piece["offset"], text.chars().count(), "{piece}");
        text.push_str(piece["data"]["text"].as_str().unwrap());
    }
    text
}

#[tokio::test]
async fn pieces_say_where_in_their_message_they_are() {
    let mut plane = Plane::start().await;
    // One message of an agent that does not name its messages, until something else is told.
    plane.command(prompt(1, 1, "!say ß€𝄞\n!say and more\n!tool x\n!say another")).await;
    plane.completed(1, 1).await;
    let first = &plane.live[0]["data"]["messageId"];
    let (one, other): (Vec<_>, Vec<_>) =
        plane.live.iter().cloned().partition(|piece| piece["data"]["messageId"] == *first);
    assert_eq!(joined(&one), "ß€𝄞and more");
    assert_eq!(joined(&other), "another", "another message begins at its own beginning");
}

#[tokio::test]
async fn what_is_said_within_the_pace_is_one_piece() {
    let mut plane = Plane::with(Setup { live_millis: 250, ..Setup::default() }).await;
    let began = Instant::now();
    // Two thousand chunks, which become durable several times on the way.
    plane.command(prompt(1, 1, "!chunks 2000 40")).await;
    plane.completed(1, 1).await;
    let paces = usize::try_from(began.elapsed().as_millis()).unwrap() / 250;
    let durable = plane.updates(1, 1, "agent_message_chunk").len();
    assert!(durable > 2, "{durable}");
    // The first, one for each pace, and what is left of a text that becomes durable, which may be
    // longer than one piece.
    let most = 1 + paces + 2 * durable;
    assert!(plane.live.len() <= most, "{} in {paces} paces", plane.live.len());
    assert_eq!(joined(&plane.live), plane.said(1, 1));
}
