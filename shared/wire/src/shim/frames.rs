//! Commands as frames that fit, and what does not fit in parts.
//!
//! What holds here: no frame is longer than [`MAX_FRAME`]. A command that is longer travels as
//! [`Part`]s, which may come in any order, more than once, and mixed with those of another sending of
//! the same: what they are parts of is named by its content.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Command, Down, MAX_FRAME};

/// What surrounds commands in a frame.
const OPEN: &str = r#"{"commands":["#;
const CLOSE: &str = "]}";

/// The most bytes of a command in one part. What escapes it as a text at most doubles it: JSON has
/// no control characters of its own.
const PIECE: usize = (MAX_FRAME - 512) / 2;

/// The most bytes that wait for their other parts. The longest command has a tenth of it.
const WAITING: usize = 16 * 1024 * 1024;

/// A piece of a command that is too long for a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// What it is a part of: the same command has the same name.
    pub whole: String,
    /// Which part, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// A piece of the command's JSON.
    pub text: String,
}

impl Down {
    /// The text frames that say this, in the order in which they are best sent.
    pub fn frames(&self) -> serde_json::Result<Vec<String>> {
        let Self::Commands(commands) = self else {
            return Ok(vec![serde_json::to_string(self)?]);
        };
        let mut frames = Vec::new();
        let mut open = String::from(OPEN);
        for command in commands {
            let text = serde_json::to_string(command)?;
            if OPEN.len() + text.len() + CLOSE.len() > MAX_FRAME {
                frames.append(&mut parts(&text)?);
                continue;
            }
            let begun = open.len() > OPEN.len();
            if begun && open.len() + 1 + text.len() + CLOSE.len() > MAX_FRAME {
                frames.push(std::mem::replace(&mut open, OPEN.to_owned()) + CLOSE);
            } else if begun {
                open.push(',');
            }
            open.push_str(&text);
        }
        // Nothing pending is an answer, too.
        if open.len() > OPEN.len() || frames.is_empty() {
            frames.push(open + CLOSE);
        }
        Ok(frames)
    }
}

fn parts(command: &str) -> serde_json::Result<Vec<String>> {
    let digest = Sha256::digest(command);
    let half = digest.first_chunk().copied().unwrap_or_default();
    let whole = format!("{:032x}", u128::from_be_bytes(half));
    let mut pieces = Vec::new();
    let mut rest = command;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(PIECE));
        pieces.push(piece);
        rest = behind;
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let of = count(pieces.len());
    let part = |(number, piece): (usize, &str)| {
        let (whole, text) = (whole.clone(), piece.to_owned());
        serde_json::to_string(&Down::Part(Part { whole, number: count(number), of, text }))
    };
    pieces.into_iter().enumerate().map(part).collect()
}

/// Parts on their way to being whole. Bounded: the oldest that never became whole go first.
#[derive(Debug, Default)]
pub struct Parts {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    whole: String,
    of: u32,
    pieces: BTreeMap<u32, String>,
    bytes: usize,
}

impl Parts {
    /// Takes a part in. With the last one comes the command; none too, where it cannot be read.
    pub fn take(&mut self, part: Part) -> Option<Command> {
        if part.number >= part.of {
            return None;
        }
        let known =
            self.waiting.iter().position(|one| one.whole == part.whole && one.of == part.of);
        let mut one = known.and_then(|place| self.waiting.remove(place)).unwrap_or_else(|| {
            Waiting { whole: part.whole, of: part.of, pieces: BTreeMap::new(), bytes: 0 }
        });
        self.bytes -= one.bytes;
        if let std::collections::btree_map::Entry::Vacant(free) = one.pieces.entry(part.number) {
            one.bytes += part.text.len();
            free.insert(part.text);
        }
        if one.pieces.len() == one.of as usize {
            let text: String = one.pieces.into_values().collect();
            return serde_json::from_str(&text).ok();
        }
        self.bytes += one.bytes;
        self.waiting.push_back(one);
        while self.bytes > WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use domain::agent::{Driver, Elicitations, Permissions, RunLimits};
    use domain::id::Ulid;
    use domain::plan::AgentPlan;
    use domain::{AgentId, RunId, SessionId};

    use super::super::PromptCommand;
    use super::*;

    fn prompt(n: u128, text: &str) -> Command {
        let agent = AgentPlan {
            driver: Driver::Acp,
            command: Vec::new(),
            auth_method: None,
            env: BTreeMap::new(),
            url: None,
            effort: None,
            model: None,
            system_prompt: None,
            limits: RunLimits::default(),
            permissions: Permissions::ALLOW,
            elicitations: Elicitations::Ask,
        };
        Command::Prompt(Box::new(PromptCommand {
            session: SessionId::new(Ulid::from_parts(1, n)),
            run: RunId::new(Ulid::from_parts(1, n)),
            prompt: text.to_owned(),
            schema: None,
            effort: None,
            agent_id: AgentId::new(Ulid::from_parts(1, 1)),
            agent,
            working_dir: None,
            mcp_servers: Vec::new(),
            settings: domain::conversation::Settings::default(),
            acp_session: None,
            forked_from: None,
            fork: None,
            forks: Vec::new(),
        }))
    }

    /// What a shim makes of frames.
    fn heard(frames: impl IntoIterator<Item = String>) -> Vec<(RunId, String)> {
        let (mut parts, mut prompts) = (Parts::default(), Vec::new());
        for frame in frames {
            assert!(frame.len() <= MAX_FRAME, "a frame of {} bytes", frame.len());
            let commands = match serde_json::from_str(&frame).unwrap() {
                Down::Commands(all) => all,
                Down::Part(part) => parts.take(part).into_iter().collect(),
                Down::Ack { .. } | Down::Told(_) | Down::Refused { .. } => {
                    panic!("nobody said so: {frame}")
                }
            };
            for command in commands {
                let Command::Prompt(prompt) = command else { panic!("{command:?}") };
                prompts.push((prompt.run, prompt.prompt));
            }
        }
        prompts.sort();
        prompts
    }

    /// The longest prompts there can be, in what their bytes become.
    fn long() -> [String; 3] {
        ["ß€𝄞x".repeat(20_000), "\u{1}\"".repeat(100_000), "\\\"".repeat(100_000)]
    }

    #[test]
    fn nothing_pending_is_one_frame() {
        assert_eq!(Down::Commands(Vec::new()).frames().unwrap(), [r#"{"commands":[]}"#]);
    }

    #[test]
    fn what_fits_travels_together_and_what_is_long_in_parts() {
        let sizes = [10, 50_000, MAX_FRAME - 400, 70_000, 60_000, 1, 200_000];
        let texts: Vec<_> = sizes.iter().map(|&size| "a".repeat(size)).chain(long()).collect();
        let all = texts.iter().zip(1..).map(|(text, n)| prompt(n, text)).collect();
        let frames = Down::Commands(all).frames().unwrap();
        let heard = heard(frames);
        assert_eq!(heard.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn the_fullest_frame_is_not_too_long() {
        let bare = OPEN.len() + serde_json::to_string(&prompt(1, "")).unwrap().len() + CLOSE.len();
        for (more, count) in [(0, 1), (1, 3)] {
            let text = "a".repeat(MAX_FRAME - bare + more);
            let frames = Down::Commands(vec![prompt(1, &text)]).frames().unwrap();
            assert_eq!(frames.len(), count);
            assert_eq!(heard(frames).len(), 1);
        }
    }

    #[test]
    fn parts_of_two_sendings_mix_in_any_order() {
        for text in long() {
            let frames = Down::Commands(vec![prompt(1, &text)]).frames().unwrap();
            let other = Down::Commands(vec![prompt(1, &text[..180_000])]).frames().unwrap();
            let mixed =
                frames.iter().rev().chain(&other).chain(&frames).chain(&other[1..]).cloned();
            let all = heard(mixed);
            let run = RunId::new(Ulid::from_parts(1, 1));
            assert!(all.contains(&(run, text.clone())));
            assert!(all.contains(&(run, text[..180_000].to_owned())));
            assert_eq!(all.len(), 3, "the second sending was complete with what came twice");
        }
    }

    #[test]
    fn what_never_becomes_whole_is_forgotten() {
        let mut parts = Parts::default();
        let piece = |whole: u32| Part {
            whole: whole.to_string(),
            number: 0,
            of: 2,
            text: "a".repeat(PIECE),
        };
        for whole in 0..1000 {
            assert!(parts.take(piece(whole)).is_none());
            assert!(parts.take(piece(whole)).is_none());
            assert!(parts.bytes <= WAITING);
        }
        let held: usize = parts.waiting.iter().map(|one| one.bytes).sum();
        assert_eq!(held, parts.bytes);
        let none = Part { whole: String::new(), number: 0, of: 0, text: String::new() };
        assert!(parts.take(none).is_none());
    }
}
