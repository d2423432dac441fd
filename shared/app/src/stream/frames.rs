//! Durable events as frames, none larger than the managed WebSocket delivers.

use domain::event::Event;
use domain::{AgentId, SessionId, Topic};
use serde_json::value::{RawValue, to_raw_value};
use wire::stream::{Cut, Empty, Frame, MAX_FRAME};

use crate::Error;

/// Events of one session that follow each other, with their place in a topic.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) session: SessionId,
    pub(super) agent: AgentId,
    /// The cursor of the first event; the next event's is one more.
    pub(super) first: u64,
    pub(super) events: Vec<Event>,
}

impl Piece {
    /// The cursor of the last event.
    pub(super) fn last(&self) -> u64 {
        (self.first + self.events.len() as u64).saturating_sub(1)
    }
}

/// The frames that tell what `pieces` hold behind `after`.
pub(super) fn frames(topic: Topic, pieces: &[Piece], after: u64) -> Result<Vec<String>, Error> {
    let mut frames = Vec::new();
    let mut open = Open { topic, said: None, events: Vec::new(), bytes: 0 };
    for piece in pieces {
        for (cursor, event) in (piece.first..).zip(&piece.events) {
            if cursor <= after {
                continue;
            }
            let event = spell(event)?;
            let bytes = event.get().len() + 1;
            let other = open.said.is_some_and(|(session, _, _)| session != piece.session);
            if other || open.bytes + bytes > MAX_FRAME {
                frames.extend(open.close()?);
            }
            open.bytes += bytes;
            open.events.push(event);
            open.said = Some((piece.session, piece.agent, cursor));
        }
    }
    frames.extend(open.close()?);
    Ok(frames)
}

struct Open {
    topic: Topic,
    said: Option<(SessionId, AgentId, u64)>,
    events: Vec<Box<RawValue>>,
    bytes: usize,
}

impl Open {
    fn close(&mut self) -> Result<Option<String>, Error> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        let Some((session_id, agent_id, cursor)) = self.said.take() else { return Ok(None) };
        let topic = self.topic;
        text(&Frame::Events { topic, cursor, session_id, agent_id, events: &events }).map(Some)
    }
}

fn spell(event: &Event) -> Result<Box<RawValue>, Error> {
    let whole = to_raw_value(event).map_err(|_| Error::Bug("an event serialises"))?;
    if whole.get().len() <= MAX_FRAME {
        return Ok(whole);
    }
    let Event { seq, kind, run_id, time, .. } = event;
    let (seq, run_id, time, data) = (*seq, *run_id, *time, Empty {});
    to_raw_value(&Cut { seq, kind, run_id, time, truncated: true, data })
        .map_err(|_| Error::Bug("an event serialises"))
}

/// A frame as it is sent.
pub(super) fn text(frame: &Frame<'_>) -> Result<String, Error> {
    serde_json::to_string(frame).map_err(|_| Error::Bug("a frame serialises"))
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::id::Ulid;
    use serde_json::{Value, json};

    use super::*;

    fn piece(session: u64, first: u64, seqs: std::ops::RangeInclusive<u64>, bytes: usize) -> Piece {
        let events = seqs.map(|seq| Event {
            seq,
            kind: "tool_call".to_owned(),
            run_id: None,
            time: Timestamp::default(),
            data: to_raw_value(&json!({ "text": "x".repeat(bytes) })).unwrap(),
        });
        Piece {
            session: SessionId::new(Ulid::from_parts(1, session.into())),
            agent: AgentId::new(Ulid::from_parts(1, 9)),
            first,
            events: events.collect(),
        }
    }

    fn told(pieces: &[Piece], after: u64) -> Vec<(u64, Vec<u64>)> {
        let read = |frame: String| {
            assert!(frame.len() <= 128 * 1024, "{}", frame.len());
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let events = frame["events"].as_array().unwrap();
            let seqs = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
            (frame["cursor"].as_u64().unwrap(), seqs)
        };
        frames(Topic::Realm, pieces, after).unwrap().into_iter().map(read).collect()
    }

    #[test]
    fn each_frame_says_where_it_ends() {
        let pieces = [piece(1, 10, 1..=3, 1), piece(1, 13, 4..=4, 1), piece(2, 14, 1..=2, 1)];
        assert_eq!(told(&pieces, 0), [(13, vec![1, 2, 3, 4]), (15, vec![1, 2])]);
        assert_eq!(told(&pieces, 11), [(13, vec![3, 4]), (15, vec![1, 2])]);
        assert_eq!(told(&pieces, 14), [(15, vec![2])]);
        assert_eq!(told(&pieces, 15), []);
    }

    #[test]
    fn no_frame_is_too_large() {
        let pieces = [piece(1, 1, 1..=5, 50_000)];
        assert_eq!(told(&pieces, 0), [(2, vec![1, 2]), (4, vec![3, 4]), (5, vec![5])]);
        let huge = [piece(1, 1, 1..=3, 400_000)];
        let [frame] = &frames(Topic::Realm, &huge, 0).unwrap()[..] else { panic!("one frame") };
        let frame: Value = serde_json::from_str(frame).unwrap();
        assert_eq!(frame["events"][1]["truncated"], true);
        assert_eq!(frame["events"][1]["data"], json!({}));
    }
}
