//! The shim's connection.

use app::shim::{Dismissed, Receipt, ShimCaller};
use app::{App, Error};
use wire::shim::keep::Told;
use wire::shim::{Down, Up};

/// What to do with the connection after a frame.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Send this, in as many frames as [`Down::frames`] makes of it.
    Say(Down),
    /// Nothing.
    Quiet,
    /// Send this and close.
    Dismiss(Down),
}

/// What a text frame of a shim says. None where it is not one of the protocol: close the connection.
pub fn read(shim: ShimCaller, text: &str) -> Option<Up> {
    let up = serde_json::from_str(text).ok();
    if up.is_none() {
        tracing::warn!(%shim, "a frame is not one of the protocol");
    }
    up
}

/// Handles what a shim says. An error means that nothing happened: close the connection, and the shim
/// comes back and says it again. What it asks ([`Up::Ask`]) may be handled beside what it says next.
pub async fn handle(
    app: &App,
    shim: ShimCaller,
    connection: &str,
    up: Up,
) -> Result<Answer, Error> {
    Ok(match up {
        Up::Hello(hello) => match app.shim_connected(shim, &hello, connection).await? {
            Ok(()) => Answer::Say(Down::Commands(app.pending(shim).await?)),
            Err(dismissed) => dismiss(dismissed),
        },
        Up::Report(report) => {
            let next = match app.shim_reported(shim, &report).await? {
                Receipt::Next(next) => next,
                // Nobody waits for these any more: the shim is to forget them.
                Receipt::Stale => report.first + report.events.len() as u64,
            };
            Answer::Say(Down::Ack { session: report.session, next })
        }
        Up::Live(live) => {
            app.shim_said(shim, live).await;
            Answer::Quiet
        }
        Up::Process(process) => {
            app.shim_process(shim, &process).await?;
            Answer::Quiet
        }
        Up::Ask(ask) => {
            let (number, answer) = (ask.number, app.shim_asked(shim, &ask).await?);
            Answer::Say(Down::Told(Told { number, answer }))
        }
        Up::Heartbeat => {
            app.shim_heartbeat(shim, connection).await?;
            Answer::Quiet
        }
    })
}

fn dismiss(why: Dismissed) -> Answer {
    Answer::Dismiss(Down::Refused { code: why.to_string() })
}
