//! x
use super::Done;
use super::client::Turn;
use super::settings::Settings;
use crate::acp::message::Fault;
pub(super) async fn prompt(_s: &Settings, _t: &Turn, _x: &str) -> Result<Done, Fault> {
    Err(Fault::new(0, ""))
}
