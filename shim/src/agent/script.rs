//! Scripts of the echo agent: a turn that does what a test wants to see.
//!
//! A prompt that begins with `!` is one. So is what `ECHO_SCRIPTS` (an object of JSON) has under the name
//! of a moment: `start`, the name of a method (before it is answered), or that name and ` answered`.
//!
//! One directive per line:
//!
//! | directive | what it does |
//! |---|---|
//! | `!say TEXT`, `!think TEXT` | one piece of an answer, of a thought |
//! | `!repeat [BYTES]` | tells back what the user has said, in pieces of BYTES (all) |
//! | `!hear TEXT` | one piece of what the user is to have said |
//! | `!insist TEXT` | one piece of an answer, told as a request that waits for its answer |
//! | `!chunks N [BYTES]` | N pieces of BYTES each (4) |
//! | `!events N` | N tool calls, each its own event |
//! | `!rate N PER_SECOND` | the same, so many in a second, each with the time in `_meta.sentAt` |
//! | `!tool NAME` | a tool call from pending to completed |
//! | `!plan` | a plan of two entries |
//! | `!permission [KIND] [told]` | asks for permission for a tool of KIND (edit), which with `told` was said before, and says what was chosen |
//! | `!elicit form`, `!elicit url` | wants to know a name, or has an address visited, and says the answer |
//! | `!write PATH TEXT`, `!read PATH` | writes a file, says what is in one |
//! | `!shell COMMAND` | runs `/bin/sh -c COMMAND` and says what it wrote |
//! | `!settings` | says which mode, model and options this session is set to |
//! | `!count` | says how many prompts this session has had |
//! | `!open` | says how many sessions are open |
//! | `!heard` | says the prompts of this session that were no scripts |
//! | `!usage IN OUT`, `!quota IN OUT` | the tokens that the turn reports, in one place or another |
//! | `!metered IN OUT` | a piece of an answer with the tokens that its call took |
//! | `!used N` | the tokens that the conversation has, told while it goes on |
//! | `!forget CODE` | the next prompt is told with CODE that its conversation is not known |
//! | `!unknown` | an update and a request of a later version |
//! | `!garbage [N]` | N lines (1) that are no messages |
//! | `!halfline` | half of a message, without the end of its line |
//! | `!longline BYTES` | one line of so many bytes |
//! | `!wrongid` | an answer to a request nobody made |
//! | `!raw LINE` | this line, as it is |
//! | `!flood [requests]` | updates, or requests, without an end, until cancelled |
//! | `!mutter BYTES` | so many bytes on standard error |
//! | `!zombies N` | N processes that end and are not waited for |
//! | `!wait` | nothing, until cancelled |
//! | `!silence` | never answers this prompt, but takes a cancel |
//! | `!ignorecancel` | does not answer this prompt, whatever happens |
//! | `!ignoreterm` | a shell in the agent's group that ignores TERM |
//! | `!fork` | a process that leaves the group and the parent, ignores TERM and sleeps |
//! | `!exit CODE [COUNT]`, `!kill9` | ends the process, where this is the COUNTth prompt of the session if that is said |
//! | `!error CODE MESSAGE`, `!refuse` | ends the turn so |

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, interval};

use super::client::Turn;
use super::echo::Heard;
use super::{Done, Used};
use crate::acp::message::{self, Fault};

/// What a directive does to the turn.
enum Step {
    Next,
    Ended(Result<&'static str, Fault>),
    Never,
}

/// Plays a script. None where there is to be no answer.
pub(super) async fn play(turn: &Turn, heard: &Heard, script: &str) -> Option<Result<Done, Fault>> {
    let mut usage = None;
    for line in script.lines() {
        let line = line.trim();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let used = (number(rest, 0), number(rest, 1));
        match verb {
            "!usage" => usage = Some(Used::Plain(used.0, used.1)),
            "!quota" => usage = Some(Used::Quota(used.0, used.1)),
            "!repeat" => repeat(turn, script, used.0).await,
            _ => {}
        }
        match step(turn, heard, verb, rest).await {
            Step::Next => {}
            Step::Ended(Ok(stop_reason)) => return Some(Ok(Done { stop_reason, usage })),
            Step::Ended(Err(fault)) => return Some(Err(fault)),
            Step::Never => return None,
        }
        if turn.cancelled() {
            return Some(Ok(Done { stop_reason: "cancelled", usage }));
        }
    }
    Some(Ok(Done { stop_reason: "end_turn", usage }))
}

fn number(rest: &str, place: usize) -> u64 {
    rest.split_whitespace().nth(place).and_then(|text| text.parse().ok()).unwrap_or_default()
}

async fn step(turn: &Turn, heard: &Heard, verb: &str, rest: &str) -> Step {
    match verb {
        "!say" => turn.say(rest).await,
        "!think" => turn.think(rest).await,
        "!insist" => turn.insist(rest).await,
        "!hear" => turn.hear(rest).await,
        "!settings" => turn.say(&turn.set_to).await,
        "!count" => turn.say(&heard.count.to_string()).await,
        "!open" => turn.say(&turn.open.to_string()).await,
        "!heard" => {
            let all: Vec<_> = heard.prompts.iter().map(String::as_str).collect();
            turn.say(&all.join(", ")).await;
        }
        "!chunks" => {
            let size = usize::try_from(number(rest, 1)).unwrap_or_default();
            let piece = "abc ".repeat(size.max(4) / 4);
            for _ in 0..number(rest, 0) {
                if turn.cancelled() {
                    break;
                }
                turn.say(&piece).await;
            }
        }
        "!events" => events(turn, number(rest, 0), None).await,
        "!rate" => events(turn, number(rest, 0), Some(number(rest, 1))).await,
        "!tool" => tool(turn, rest).await,
        "!plan" => {
            let entries = json!([
                { "content": "look", "priority": "high", "status": "completed" },
                { "content": "leap", "priority": "low", "status": "pending" },
            ]);
            turn.update("plan", &json!({ "entries": entries })).await;
        }
        "!permission" => permission(turn, rest).await,
        "!elicit" => elicit(turn, rest == "url").await,
        "!write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let said = match std::fs::write(path, text) {
                Ok(()) => "written".to_owned(),
                Err(why) => format!("error: {why}"),
            };
            turn.say(&said).await;
        }
        "!read" => {
            let said = match std::fs::read(rest) {
                Ok(text) => String::from_utf8_lossy(&text).into_owned(),
                Err(why) => format!("error: {why}"),
            };
            turn.say(&said).await;
        }
        "!shell" => shell(turn, rest).await,
        "!used" => {
            let used = json!({ "used": number(rest, 0), "size": 1000 });
            turn.update("usage_update", &used).await;
        }
        "!metered" => {
            let took = json!({ "inputTokens": number(rest, 0), "outputTokens": number(rest, 1) });
            let said = json!({
                "content": { "type": "text", "text": "" }, "_meta": { "usage": took },
            });
            turn.update("agent_message_chunk", &said).await;
        }
        "!forget" => turn.forget.set(rest.parse().ok()),
        "!usage" | "!quota" | "!repeat" => {}
        "!wait" => {
            turn.cancellation().await;
            return Step::Ended(Ok("cancelled"));
        }
        "!exit" if ![0, heard.count].contains(&number(rest, 1)) => {}
        _ => return fault(turn, verb, rest).await,
    }
    Step::Next
}

/// The directives that play a broken agent.
async fn fault(turn: &Turn, verb: &str, rest: &str) -> Step {
    match verb {
        "!unknown" => {
            turn.update("from_the_future", &json!({ "what": [1, 2, 3] })).await;
            turn.raw(message::call(Some(4_000_000), "from/the/future", &json!({}))).await;
        }
        "!garbage" => {
            for n in 0..number(rest, 0).max(1) {
                turn.raw(format!("garbage {n}\n").into_bytes()).await;
            }
        }
        "!halfline" => turn.raw(br#"{"jsonrpc":"2.0","method":"session/upd"#.to_vec()).await,
        "!longline" => {
            let mut line = vec![b'x'; usize::try_from(number(rest, 0)).unwrap_or_default()];
            line.push(b'\n');
            turn.raw(line).await;
        }
        "!wrongid" => turn.answer_nobody().await,
        "!raw" => turn.raw(format!("{rest}\n").into_bytes()).await,
        "!flood" => flood(turn, rest == "requests").await,
        "!mutter" => {
            let text = vec![b'm'; usize::try_from(number(rest, 0)).unwrap_or_default()];
            std::io::stderr().write_all(&text).unwrap_or_default();
        }
        "!zombies" => {
            for _ in 0..number(rest, 0) {
                // Never waited for: that is the point.
                drop(std::process::Command::new("/bin/true").spawn());
            }
        }
        "!silence" => {
            turn.cancellation().await;
            return Step::Ended(Ok("cancelled"));
        }
        "!ignorecancel" => return Step::Never,
        "!ignoreterm" => start("trap '' TERM; while :; do sleep 1; done").await,
        // The outer shell ends at once: what it leaves has no parent, no group and no terminal.
        "!fork" => start("(setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &)").await,
        "!exit" => {
            // What was said before is written first.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            #[expect(clippy::exit, reason = "a script may end the agent in the middle of a turn")]
            std::process::exit(i32::try_from(number(rest, 0)).unwrap_or(1));
        }
        "!kill9" => kill_process(getpid(), Signal::KILL).unwrap_or_default(),
        "!error" => {
            let (code, message) = rest.split_once(' ').unwrap_or((rest, "error"));
            return Step::Ended(Err(Fault::new(code.parse().unwrap_or(-32603), message)));
        }
        "!refuse" => return Step::Ended(Ok("refusal")),
        _ => turn.say(&format!("there is no directive {verb}")).await,
    }
    Step::Next
}

async fn repeat(turn: &Turn, mut rest: &str, size: u64) {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(rest.len());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.ceil_char_boundary(size));
        turn.hear(piece).await;
        rest = behind;
    }
}

async fn flood(turn: &Turn, requests: bool) {
    while !turn.cancelled() {
        if requests {
            turn.raw(message::call(Some(1), "from/the/future", &json!({}))).await;
        } else {
            turn.update("plan", &json!({ "entries": [] })).await;
        }
    }
}

async fn events(turn: &Turn, count: u64, per_second: Option<u64>) {
    let pause =
        per_second.map(|rate| Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1).max(1));
    let mut beats = pause.map(interval);
    for n in 0..count {
        if turn.cancelled() {
            return;
        }
        if let Some(beats) = &mut beats {
            beats.tick().await;
        }
        let mut call = json!({ "toolCallId": format!("call-{n}"), "title": format!("event {n}") });
        if beats.is_some() {
            call["_meta"] = json!({ "sentAt": crate::time::micros() });
        }
        turn.update("tool_call", &call).await;
    }
}

async fn tool(turn: &Turn, name: &str) {
    let id = format!("tool-{:?}", Instant::now());
    let call = json!({
        "toolCallId": id, "title": name, "kind": "other", "status": "pending", "rawInput": {},
    });
    turn.update("tool_call", &call).await;
    let content = json!([{ "type": "content", "content": { "type": "text", "text": "done" } }]);
    let update = json!({ "toolCallId": id, "status": "completed", "content": content });
    turn.update("tool_call_update", &update).await;
}

async fn permission(turn: &Turn, rest: &str) {
    let mut words = rest.split_whitespace();
    let kind = words.next().unwrap_or("edit");
    let mut call = json!({ "toolCallId": "asks", "title": "may I?", "kind": kind });
    if words.next() == Some("told") {
        turn.update("tool_call", &call).await;
        call = json!({ "toolCallId": "asks" });
    }
    let options = json!([
        { "optionId": "n", "name": "No", "kind": "reject_once" },
        { "optionId": "a", "name": "Always", "kind": "allow_always" },
        { "optionId": "y", "name": "Yes", "kind": "allow_once" },
    ]);
    let chosen = turn.permission(&call, &options).await;
    turn.say(chosen.as_deref().unwrap_or("cancelled")).await;
}

async fn elicit(turn: &Turn, url: bool) {
    let mut wanted = json!({ "message": "Who are you?", "mode": "form", "requestedSchema": {
        "type": "object",
        "properties": {
            "name": { "type": "string", "title": "Your name", "minLength": 2 },
            "age": { "type": "integer", "title": "How old", "minimum": 0 },
            "colour": { "type": "string", "title": "Colour", "enum": ["red", "green"] },
            "drinks": { "type": "array", "title": "Drinks", "items": { "anyOf": [
                { "const": "tea", "title": "Tea" }, { "const": "coffee", "title": "Coffee" },
            ] } },
            "remember": { "type": "boolean", "title": "Remember me" },
        },
        "required": ["name"],
    } });
    if url {
        wanted = json!({
            "message": "Log in there.",
            "mode": "url",
            "elicitationId": "visit-1",
            "url": "https://example.com/login",
        });
    }
    let answer = turn.elicit(wanted).await;
    if url && answer["action"] == "accept" {
        turn.visited("visit-1").await;
    }
    turn.say(&answer.to_string()).await;
}

async fn shell(turn: &Turn, command: &str) {
    let run = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = tokio::select! {
        done = run => match done {
            Ok(done) => {
                String::from_utf8_lossy(&done.stdout).into_owned()
                    + &String::from_utf8_lossy(&done.stderr)
            }
            Err(why) => format!("error: {why}"),
        },
        () = turn.cancellation() => return,
    };
    turn.say(&said).await;
}

async fn start(script: &str) {
    let started = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // The one that ends at once is waited for; the other is left behind on purpose.
    if let Ok(mut child) = started
        && !script.starts_with("trap")
    {
        drop(child.wait().await);
    }
}
