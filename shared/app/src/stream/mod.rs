//! The client's stream: tickets, connections, and what they follow.
//!
//! What holds here: all that is known of a connection is in the table, so any process can serve any
//! of its frames. A subscription is *pending* while its subscriber is sent the past, and *live* behind
//! a number from then on; the step from one to the other is conditional, and whoever publishes in the
//! meantime makes it fail. So each event reaches a subscriber once: with the past or with the present.
//!
//! - [`subscribe`](Stream::subscribe): write the row pending, read and send the past, flip it to live
//!   behind the last number that was sent; where the flip fails, read on.
//! - [`publish`](Stream::publish): what is durable by now goes to who is live before it; who is
//!   pending is put again, unchanged, so that the flip fails and the reader reads further.
//! - Positions of agents and of the realm are those of the realm's log ([`store::log`]), which
//!   [`sequence`](Stream::sequence) appends where the table's writer does not.
//!
//! It relies on this: the changes of one partition of the table are published in order, one call at a
//! time. Whatever cannot be known to have been sent once ends the connection: its client comes back
//! with its cursor.
//!
//! Deliberately absent: any knowledge of sockets, and state in memory, but for a note of seconds that
//! nobody follows what is being said right now.

mod connection;
mod frames;
mod past;
mod publish;
mod sequence;
mod subscribe;
mod unheard;

use std::time::Duration;

pub use connection::Peer;
pub use publish::{Change, Delivery};
pub(crate) use unheard::Unheard;

use crate::App;

/// The use cases about streams.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a>(&'a App);

impl App {
    /// The use cases about streams.
    pub const fn stream(&self) -> Stream<'_> {
        Stream(self)
    }
}

/// How long a connection may last, as the managed WebSocket has it.
pub const LIFE: Duration = Duration::from_hours(2);

/// How long the rows of a connection outlast it at most.
const BEYOND: Duration = Duration::from_mins(10);
