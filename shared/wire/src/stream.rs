//! What a client and the control plane say to each other on a stream: JSON text frames on one
//! WebSocket, which a ticket opens. `events/asyncapi.yaml` is the same in another language.
//!
//! What holds here
//! - A client that subscribes gets [`Frame::Subscribed`] first, then the topic's durable past behind
//!   the cursor it gave, then the present: each event once, in order, without a gap.
//! - Each [`Frame::Events`] has the cursor to give as `after` to go on behind it. A session's cursor is
//!   the number of its event; that of an agent or the realm is a position in the realm's log.
//! - [`Frame::Live`] is what is being said right now: not durable, told by its offset, and maybe lost.
//! - The server may end a connection or, with [`Frame::Unsubscribed`], a subscription at any time. The
//!   client comes back with its cursor.

use domain::{AgentId, RunId, SessionId, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Problem;
use crate::event::LiveView;

/// The most bytes of a frame that a client sends.
pub const MAX_ASKED: usize = 4096;

/// The most bytes of a frame that a client gets, but for the envelope of its last event. The managed
/// WebSocket delivers no message of more than 128 KiB.
pub const MAX_FRAME: usize = 120 * 1024;

/// The most topics one connection follows.
pub const MAX_TOPICS: usize = 100;

/// A ticket that was just made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketView {
    /// The ticket: opens one stream, once. Goes into the address as `ticket`.
    pub ticket: String,
    /// Where to connect: a WebSocket address without the ticket.
    pub url: String,
    /// When the ticket stops working.
    pub expires_at: Timestamp,
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Asked {
    /// Follow a topic.
    Subscribe {
        /// Which.
        topic: Topic,
        /// Begin behind this cursor; 0 is the beginning. Left out: only what comes from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Whether to get what is being said right now, too. Left out: yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live: Option<bool>,
    },
    /// Do not follow a topic any more.
    Unsubscribe {
        /// Which.
        topic: Topic,
    },
    /// Say something.
    Ping {},
}

/// To the client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Frame<'a> {
    /// The topic is followed: what comes is behind `cursor`.
    Subscribed {
        /// Which.
        topic: Topic,
        /// Where it begins.
        cursor: u64,
    },
    /// The topic is not followed any more.
    Unsubscribed {
        /// Which.
        topic: Topic,
        /// Where the server stopped, where it did so by itself: subscribe again behind it.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<u64>,
    },
    /// The answer to a ping.
    Pong,
    /// Durable events of one session, in order.
    Events {
        /// The topic.
        topic: Topic,
        /// What to give as `after` to go on behind the last of them.
        cursor: u64,
        /// The session.
        session_id: SessionId,
        /// The agent of the session.
        agent_id: AgentId,
        /// The events. One that is too large for any frame comes without its `data` and with
        /// `"truncated": true`; the session's list of events has the whole.
        events: &'a [Box<RawValue>],
    },
    /// A piece of what is being said right now.
    Live {
        /// The topic.
        topic: Topic,
        /// The session.
        session_id: SessionId,
        /// The agent of the session.
        agent_id: AgentId,
        /// The piece.
        event: LiveView<'a>,
    },
    /// Something was not done.
    Problem {
        /// The topic it was about, where it was about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<Topic>,
        /// Why.
        problem: Problem,
    },
}

/// An event that is too large for any frame.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut<'a> {
    /// Its number.
    pub seq: u64,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The run it belongs to, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// When the control plane wrote it down.
    pub time: Timestamp,
    /// Always.
    pub truncated: bool,
    /// Empty.
    pub data: Empty,
}

/// Nothing.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}
