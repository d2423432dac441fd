//! What is invoked by frames on a WebSocket, whoever holds the socket.
//!
//! What holds here: a frame is handled by itself, from what the table says and who sent it, so it
//! does not matter which process gets it. On one machine the gateway calls in; in the cloud the
//! managed WebSocket does.

pub mod client;
pub mod shim;
