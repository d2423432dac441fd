//! The durable past of a topic, some at a time.

use std::time::Duration;

use domain::{AgentId, SessionId};
use store::Scope;
use store::event::Stretch;
use store::log::{self, Entry, Place};

use super::Stream;
use super::frames::Piece;
use crate::Error;

/// How many events of a session are read at a time.
const EVENTS: usize = 200;

/// How many entries of a log are looked at at a time.
const ENTRIES: usize = 100;

/// How many of their batches are read at a time.
const BATCHES: usize = 20;

/// How long the index may take to show what was written, at the very most.
const LAG: Duration = Duration::from_mins(1);

/// A place in the past of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Past {
    /// Of one session.
    Session {
        scope: Scope,
        session: SessionId,
        agent: AgentId,
        /// The number of the last event that was read.
        after: u64,
        /// Whether a batch ends there.
        whole: bool,
    },
    /// Of a realm, or of one agent in it.
    Log {
        scope: Scope,
        agent: Option<AgentId>,
        /// The last position that was read.
        after: u64,
        /// Whether an entry ends there.
        whole: bool,
        /// For an agent, once known: the position from which on the index is not relied on.
        fresh: Option<u64>,
    },
}

/// Some of the past.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) pieces: Vec<Piece>,
    /// Whether that was all.
    pub(super) end: bool,
}

impl Past {
    /// The cursor of the last that was read.
    pub(super) const fn after(&self) -> u64 {
        match self {
            Self::Session { after, .. } | Self::Log { after, .. } => *after,
        }
    }

    /// Reads on. The end is told by a read that saw all that had its cursor when it began.
    pub(super) async fn read(&mut self, stream: Stream<'_>) -> Result<Read, Error> {
        let table = stream.0.table();
        match self {
            Self::Session { scope, session, agent, after, whole } => {
                let read = store::event::read(table, *scope, *session, *after, *whole, EVENTS);
                let Stretch { events, more, whole: ends, .. } = read.await?;
                *whole = ends;
                let (Some(first), Some(last)) = (events.first(), events.last()) else {
                    return Ok(Read { pieces: Vec::new(), end: !more });
                };
                let first = first.seq;
                *after = last.seq;
                let piece = Piece { session: *session, agent: *agent, first, events };
                Ok(Read { pieces: vec![piece], end: !more })
            }
            Self::Log { scope, agent, after, whole, fresh } => {
                if let (Some(_), None) = (&agent, &fresh) {
                    *fresh = Some(stream.fresh(*scope, *after).await?);
                }
                // What the index may not show yet is read from the log itself.
                let by_index = agent.filter(|_| fresh.is_some_and(|fresh| *after + 1 < fresh));
                let entries = log::behind(table, *scope, by_index, *after, *whole, ENTRIES).await?;
                let mut end = entries.len() < ENTRIES;
                let mut reached = entries.last().map_or(*after, Entry::last);
                let mut wanted: Vec<_> = entries
                    .iter()
                    .filter(|entry| by_index.is_none() || Some(entry.first) < *fresh)
                    .filter(|entry| agent.is_none() || *agent == entry.batch.map(|b| b.agent))
                    .collect();
                if wanted.len() > BATCHES {
                    wanted.truncate(BATCHES);
                    reached = wanted.last().map_or(*after, |entry| entry.last());
                    end = false;
                } else if by_index.is_some() {
                    let done = end || wanted.len() < entries.len();
                    reached = match *fresh {
                        Some(fresh) if done => fresh - 1,
                        _ => reached,
                    };
                    end = false;
                }
                (*after, *whole) = (reached, true);
                Ok(Read { pieces: stream.pieces(*scope, &wanted).await?, end })
            }
        }
    }
}

impl Stream<'_> {
    /// The first position that is so new that the index may not show it, behind `after`.
    async fn fresh(&self, scope: Scope, after: u64) -> Result<u64, Error> {
        let now = self.0.now();
        let (mut fresh, mut before) = (None, None);
        loop {
            let tail = log::tail(self.0.table(), scope, before, ENTRIES).await?;
            fresh = fresh.or_else(|| tail.first().map(|entry| entry.last() + 1));
            for entry in &tail {
                if now.since(entry.time) > LAG || entry.last() <= after {
                    return Ok(fresh.unwrap_or(1));
                }
                fresh = Some(entry.first);
            }
            match tail.last() {
                Some(last) if tail.len() == ENTRIES => before = Some(last.first),
                _ => return Ok(fresh.unwrap_or(1)),
            }
        }
    }

    /// The events that entries of a log stand for, as far as they are still there. One round trip.
    pub(super) async fn pieces(
        &self,
        scope: Scope,
        entries: &[&Entry],
    ) -> Result<Vec<Piece>, Error> {
        let (places, firsts): (Vec<Place>, Vec<u64>) =
            entries.iter().filter_map(|entry| Some((entry.batch?, entry.first))).unzip();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let batches = store::event::batches(self.0.table(), scope, &places).await?;
        let found = batches.into_iter().zip(places).zip(firsts);
        Ok(found
            .filter_map(|((batch, place), first)| {
                let Place { session, agent, .. } = place;
                Some(Piece { session, agent, first, events: batch?.events })
            })
            .collect())
    }
}
