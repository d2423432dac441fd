//! The routes of the WebSocket API: who connects, what is said, who is gone.
//!
//! What holds here: `$connect` finds out who it is and writes it down; every later frame is dealt with
//! by what the table says of its connection, whichever process gets it. What is answered is pushed, so
//! the status of a frame's invocation tells nobody anything. A frame that could not be dealt with
//! closes its connection: whoever is at its end comes back and says it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use app::App;
use app::ports::Push;
use app::shim::ShimCaller;
use app::stream::Peer;
use gate::Function;
use serde::Deserialize;
use serde_json::{Value, json};
use sockets::shim::Answer;
use wire::shim::Down;
use wire::{Problem, ProblemKind};

use crate::Error;
use crate::invocation::each;
use crate::ports::{self, Wanted};
use crate::process::Process;

/// As much of an event as is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    headers: BTreeMap<String, String>,
    // Null where there is none.
    #[serde(default)]
    query_string_parameters: Option<BTreeMap<String, String>>,
    request_context: Context,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    connection_id: String,
}

impl Event {
    fn bearer(&self) -> Option<&str> {
        let named = |name: &&String| name.eq_ignore_ascii_case("authorization");
        let name = self.headers.keys().find(named)?;
        self.headers[name].strip_prefix("Bearer ")
    }

    fn ticket(&self) -> Option<&str> {
        self.query_string_parameters.as_ref()?.get("ticket").map(String::as_str)
    }
}

/// Serves `function` for as long as the process lives.
pub(crate) async fn serve(process: Process, function: &'static Function) -> Result<(), Error> {
    let app = ports::app(&process, &Wanted::of_function(function)).await?;
    match function.id {
        "sockets.connect" => {
            each(process, async |event: Event, _| Ok(status(connect(&app, &event).await))).await
        }
        "sockets.disconnect" => {
            each(process, async |event: Event, _| Ok(status(disconnect(&app, &event).await))).await
        }
        // Which verb it is, is read from the frame.
        "sockets.message" | "sockets.subscribe" | "sockets.unsubscribe" | "sockets.ping" => {
            let push = ports::push(&process)?;
            each(process, async |event: Event, _| {
                let done = frame(&app, &push, &event).await;
                if done.is_err() {
                    push.close(&event.request_context.connection_id).await;
                }
                Ok(status(done))
            })
            .await
        }
        id => Err(format!("{id} has no handler").into()),
    }
}

/// What the API is told: for `$connect` it decides whether there is a connection.
fn status(done: Result<(), app::Error>) -> Value {
    let code = match done {
        Ok(()) => 200,
        Err(error) => {
            let problem = Problem::from(error);
            if problem.code != ProblemKind::Unauthenticated {
                tracing::warn!(code = problem.code.code(), "{}", problem.detail);
            }
            problem.status
        }
    };
    json!({ "statusCode": code })
}

async fn connect(app: &App, event: &Event) -> Result<(), app::Error> {
    let connection = &event.request_context.connection_id;
    match event.bearer() {
        Some(bearer) => {
            let shim = known(app.authenticate_shim(Some(bearer))?);
            app.stream().connect_shim(connection, shim).await
        }
        None => sockets::client::connect(app, connection, event.ticket()).await,
    }
}

async fn disconnect(app: &App, event: &Event) -> Result<(), app::Error> {
    let connection = &event.request_context.connection_id;
    if let Some(Peer::Shim(shim)) = app.stream().peer(connection).await? {
        app.shim_disconnected(known(shim), connection).await?;
    }
    sockets::client::disconnect(app, connection).await
}

async fn frame(app: &App, push: &Arc<dyn Push>, event: &Event) -> Result<(), app::Error> {
    let connection = &event.request_context.connection_id;
    let text = event.body.as_deref().unwrap_or_default();
    match app.stream().peer(connection).await? {
        Some(Peer::Client) => sockets::client::frame(app, connection, text).await,
        Some(Peer::Shim(shim)) => shim_frame(app, push, connection, known(shim), text).await,
        None => Err(app::Error::Unauthenticated("the connection is over")),
    }
}

/// For the log: whose invocation it is.
fn known(shim: ShimCaller) -> ShimCaller {
    tracing::Span::current().record("realm", tracing::field::display(shim.realm()));
    shim
}

async fn shim_frame(
    app: &App,
    push: &Arc<dyn Push>,
    connection: &str,
    shim: ShimCaller,
    text: &str,
) -> Result<(), app::Error> {
    let Some(up) = sockets::shim::read(shim, text) else {
        push.close(connection).await;
        return Ok(());
    };
    match sockets::shim::handle(app, shim, connection, up).await? {
        Answer::Quiet => {}
        Answer::Say(down) => say(push, connection, &down).await?,
        Answer::Dismiss(down) => {
            say(push, connection, &down).await?;
            push.close(connection).await;
        }
    }
    Ok(())
}

/// A connection that is gone asks for what is pending when it comes again.
async fn say(push: &Arc<dyn Push>, connection: &str, down: &Down) -> Result<(), app::Error> {
    let frames = down.frames().map_err(|_| app::Error::Bug("what is said to a shim serialises"))?;
    for frame in frames {
        if push.deliver(connection, frame).await.is_err() {
            break;
        }
    }
    Ok(())
}
