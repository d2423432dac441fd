//! JSON-RPC 2.0 over lines, the transport of the Agent Client Protocol, from either side.
//!
//! What holds here: what is sent is strict, what is taken is read leniently and kept raw, so that
//! nothing an agent says is lost because this program is older than it.

pub(crate) mod line;
pub(crate) mod message;
pub(crate) mod peer;
