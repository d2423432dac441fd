//! What is invoked by frames on a WebSocket, whoever holds the socket.
//!
//! What holds here: a frame is handled by itself, from what the table says and who sent it, so it
//! does not matter which process gets it. On one machine the gateway calls in; in the cloud the
//! managed WebSocket does.

pub mod client;
pub mod shim;

use app::Grant;
use gate::{Function, Need, Trigger};

/// What a client asks for on its own connection.
const CLIENT: &[Grant] = &[Grant::TableRead, Grant::TableWrite, Grant::Push];

/// Every function of this area: one for each route of the WebSocket API.
pub const FUNCTIONS: &[Function] = &[
    Function::new("sockets.connect", &[Trigger::Socket("$connect")])
        .summary("Let a shim or a client in, and remember who it is")
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .needs(&[Need::SigningKey]),
    Function::new("sockets.disconnect", &[Trigger::Socket("$disconnect")])
        .summary("Forget a connection")
        .grants(&[Grant::TableRead, Grant::TableWrite]),
    // The answer to what a shim says is pushed, so that a slow one holds nobody up.
    Function::new("sockets.message", &[Trigger::Socket("$default")])
        .summary("Take a frame of a shim")
        .grants(&[
            Grant::TableRead,
            Grant::TableWrite,
            Grant::Push,
            Grant::Feed,
            Grant::BlobRead,
            Grant::BlobWrite,
        ]),
    Function::new("sockets.subscribe", &[Trigger::Socket("subscribe")])
        .summary("Let a client follow a topic")
        .grants(CLIENT),
    Function::new("sockets.unsubscribe", &[Trigger::Socket("unsubscribe")])
        .summary("Let a client follow a topic no longer")
        .grants(CLIENT),
    Function::new("sockets.ping", &[Trigger::Socket("ping")])
        .summary("Tell a client that its connection works")
        .grants(CLIENT),
];
