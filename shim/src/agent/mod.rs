//! The agents that are built in: this same program, speaking ACP on its standard streams.
//!
//! What holds here: a built-in agent is a child process like any other, seen from the supervisor
//! only through the protocol. Prompts of several sessions run side by side; a session that is
//! cancelled answers its prompt with `cancelled`.
//!
//! Sessions are files under `$HOME/.reeve/sessions`, so that they outlive the container.

mod client;
mod echo;
mod memory;
mod script;
mod settings;
mod vanilla;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::acp::line::Lines;
use crate::acp::message::{
    self, AUTH_REQUIRED, Fault, INVALID_PARAMS, Id, Incoming, METHOD_NOT_FOUND, NOT_FOUND,
};
use crate::acp::peer::Peer;
use client::Turn;
use settings::{Kind, Settings};

/// What a turn came to.
#[derive(Debug)]
struct Done {
    stop_reason: &'static str,
    usage: Option<(u64, u64)>,
}

struct Server {
    settings: Rc<Settings>,
    peer: Rc<Peer>,
    /// The sessions that are open, each with what cancels its turn.
    sessions: RefCell<BTreeMap<String, watch::Sender<u64>>>,
    /// What a script that belongs to no turn hears no cancel from.
    moments: watch::Sender<u64>,
    logged_in: Cell<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    method_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InSession {
    session_id: String,
    #[serde(default)]
    prompt: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: String,
    #[serde(default)]
    uri: String,
}

/// Serves one client until it closes its end.
pub(crate) async fn serve(kind: &str) -> ExitCode {
    let settings = match Settings::read(kind) {
        Ok(settings) => Rc::new(settings),
        Err(why) => {
            crate::boot::note(&why);
            return ExitCode::FAILURE;
        }
    };
    let (Ok(input), Ok(output)) = (
        std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd),
        std::io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd),
    ) else {
        crate::boot::note("the standard streams of an agent are pipes");
        return ExitCode::FAILURE;
    };
    let server = Rc::new(Server {
        settings,
        peer: Peer::new(output),
        sessions: RefCell::default(),
        moments: watch::Sender::new(0),
        logged_in: Cell::new(false),
    });
    server.aside("start").await;
    let mut lines = Lines::new(BufReader::with_capacity(8 * 1024, input));
    while let Ok(line) = lines.next().await {
        match message::read(line) {
            Some(Incoming::Answer { id, result }) => drop(server.peer.resolve(&id, result)),
            Some(Incoming::Notification { method, params }) if method == "session/cancel" => {
                server.cancel(&params);
            }
            Some(Incoming::Notification { .. }) | None => {}
            Some(Incoming::Request { id, method, params }) if method == "session/prompt" => {
                // Taken in before the next line is read: that may be its cancellation.
                let turn = server.begin(&params);
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move { server.prompt(id, turn).await });
            }
            Some(Incoming::Request { id, method, params }) => {
                let result = match server.moment(&method).await {
                    None => continue,
                    Some(Ok(_)) => server.answer(&method, &params).await,
                    Some(Err(fault)) => Err(fault),
                };
                drop(server.peer.answer(&id, result).await);
                server.aside(&format!("{method} answered")).await;
            }
        }
    }
    ExitCode::SUCCESS
}

impl Server {
    async fn answer(&self, method: &str, params: &RawValue) -> Result<Value, Fault> {
        match method {
            "initialize" => Ok(self.settings.capabilities()),
            "authenticate" => {
                let method = read::<Login>(params)?.method_id;
                self.logged_in.set(method == "echo-api-key");
                Ok(json!({}))
            }
            "session/new" if self.settings.is_rich() && !self.logged_in.get() => {
                Err(Fault::new(AUTH_REQUIRED, "log in first"))
            }
            "session/new" => {
                let id = memory::mint()?;
                memory::save(&self.settings.home, &id, &self.settings.kind.fresh())?;
                self.open(&id);
                let mut answer = self.settings.offers();
                answer["sessionId"] = json!(id);
                Ok(answer)
            }
            "session/load" | "session/resume" => {
                let session: InSession = read(params)?;
                memory::load::<Value>(&self.settings.home, &session.session_id)?;
                self.open(&session.session_id);
                if method == "session/load" {
                    let turn = self.turn(&session.session_id);
                    turn.update(
                        "user_message_chunk",
                        &json!({
                            "content": { "type": "text", "text": "(what was said before)" },
                        }),
                    )
                    .await;
                    turn.say("(what was answered before)").await;
                }
                Ok(self.settings.offers())
            }
            _ => Err(Fault::new(METHOD_NOT_FOUND, format!("no such method: {method}"))),
        }
    }

    fn open(&self, session: &str) {
        self.sessions.borrow_mut().insert(session.to_owned(), watch::Sender::new(0));
    }

    fn turn(&self, session: &str) -> Turn {
        let cancelled = match self.sessions.borrow().get(session) {
            Some(cancel) => cancel.subscribe(),
            None => watch::Sender::new(0).subscribe(),
        };
        Turn::new(Rc::clone(&self.peer), session.to_owned(), cancelled)
    }

    fn cancel(&self, params: &RawValue) {
        if let Ok(session) = read::<InSession>(params)
            && let Some(cancel) = self.sessions.borrow().get(&session.session_id)
        {
            cancel.send_modify(|count| *count += 1);
        }
    }

    fn begin(&self, params: &RawValue) -> Result<(Turn, String), Fault> {
        let session: InSession = read(params)?;
        if !self.sessions.borrow().contains_key(&session.session_id) {
            return Err(Fault::new(NOT_FOUND, "no such session"));
        }
        let text: Vec<_> =
            session.prompt.into_iter().map(|block| block.text + &block.uri).collect();
        Ok((self.turn(&session.session_id), text.join("\n")))
    }

    async fn prompt(&self, id: Id, turn: Result<(Turn, String), Fault>) {
        let done = match (turn, self.settings.kind) {
            (Ok((turn, text)), Kind::Echo) => echo::prompt(&self.settings, &turn, &text).await,
            (Ok((turn, text)), Kind::Vanilla) => {
                Some(vanilla::prompt(&self.settings, &turn, &text).await)
            }
            (Err(fault), _) => Some(Err(fault)),
        };
        let answer = match done {
            // A script said that there is to be no answer.
            None => return,
            Some(Ok(done)) => Ok(match done.usage {
                Some((input, output)) => json!({
                    "stopReason": done.stop_reason,
                    "usage": {
                        "inputTokens": input,
                        "outputTokens": output,
                        "totalTokens": input + output,
                    },
                }),
                None => json!({ "stopReason": done.stop_reason }),
            }),
            Some(Err(fault)) => Err(fault),
        };
        drop(self.peer.answer(&id, answer).await);
        self.aside("session/prompt answered").await;
    }

    /// Plays what is to be played between two messages. An agent that is to answer no more never comes
    /// back from it.
    async fn aside(&self, name: &str) {
        if self.moment(name).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Plays what is to be played at a moment that belongs to no turn. None where nothing is to be
    /// answered then.
    async fn moment(&self, name: &str) -> Option<Result<Done, Fault>> {
        let script = self.settings.scripts.get(name).map_or("", String::as_str);
        if !script.is_empty() {
            // What was said before is written first.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        let turn = Turn::new(Rc::clone(&self.peer), String::new(), self.moments.subscribe());
        script::play(&turn, 0, script).await
    }
}

fn read<T: serde::de::DeserializeOwned>(params: &RawValue) -> Result<T, Fault> {
    serde_json::from_str(params.get()).map_err(|why| Fault::new(INVALID_PARAMS, why.to_string()))
}
