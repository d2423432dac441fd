//! The service as containers see it, between real sockets, in front of a WebSocket API that has the
//! limits of the managed one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod denial;
mod gateway;
mod given;
mod process;
mod relay;
