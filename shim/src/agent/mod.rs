//! The agents that are built in: this same program, speaking ACP on its standard streams.
//!
//! What holds here: a built-in agent is a child process like any other, seen from the supervisor
//! only through the protocol. Prompts of several sessions run side by side; a session that is
//! cancelled answers its prompt with `cancelled`.
//!
//! Sessions are files under `$HOME/.reeve/sessions`, so that they outlive the container.

pub(crate) mod choices;
mod client;
mod echo;
mod http;
mod memory;
mod pieces;
mod process;
mod remote;
mod script;
mod settings;
mod vanilla;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
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
use crate::process::{Children, reaper};
pub(crate) use client::Told;
use client::Turn;
use settings::{Kind, Settings};

/// What a turn came to.
#[derive(Debug)]
struct Done {
    stop_reason: &'static str,
    usage: Option<Used>,
}

/// Tokens in and out, and where the answer to a prompt has them.
#[derive(Clone, Copy, Debug)]
enum Used {
    Plain(u64, u64),
    /// In a place of some agents' own.
    Quota(u64, u64),
}

struct Server {
    settings: Rc<Settings>,
    peer: Rc<Peer>,
    sessions: RefCell<BTreeMap<String, Open>>,
    /// The programs that are run for prompts.
    children: Children,
    /// What a script that belongs to no turn hears no cancel from.
    moments: watch::Sender<u64>,
    logged_in: Cell<bool>,
    /// With which code the next prompt is told that its conversation is not known.
    forget: Rc<Cell<Option<i64>>>,
}

/// A session that is open.
struct Open {
    /// Cancels its turn.
    cancel: watch::Sender<u64>,
    /// Where the client wants it to be.
    place: Option<PathBuf>,
    /// What it offers, and what it is set to.
    offers: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    method_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InSession {
    #[serde(default)]
    session_id: String,
    #[serde(default)]
    cwd: Option<PathBuf>,
    #[serde(default)]
    prompt: Vec<Block>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    reeve: Told,
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
        children: Children::default(),
        moments: watch::Sender::new(0),
        logged_in: Cell::new(false),
        forget: Rc::default(),
    });
    if server.settings.kind == Kind::Process {
        // What a program leaves behind becomes ours, so that it can be ended.
        if rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_err() {
            crate::boot::note("what a program leaves behind may outlive its turn");
        }
        tokio::task::spawn_local(reaper::run(server.children.clone()));
    }
    server.aside("start", "").await;
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
                let session = read::<InSession>(&params).map(|named| named.session_id);
                let session = session.unwrap_or_default();
                let result = match server.moment(&method, &session).await {
                    None => continue,
                    Some(Ok(_)) => server.answer(&method, &params).await,
                    Some(Err(fault)) => Err(fault),
                };
                drop(server.peer.answer(&id, result).await);
                server.aside(&format!("{method} answered"), &session).await;
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
                if read::<Login>(params)?.method_id != "echo-api-key" {
                    return Err(Fault::new(INVALID_PARAMS, "there is no such way to log in"));
                }
                self.logged_in.set(true);
                Ok(json!({}))
            }
            "session/new" | "session/load" | "session/resume" | "session/fork"
                if self.settings.is_rich() && !self.logged_in.get() =>
            {
                Err(Fault::new(AUTH_REQUIRED, "log in first"))
            }
            "session/new" => {
                let id = memory::mint()?;
                memory::save(&self.settings.home, &id, &self.settings.kind.fresh())?;
                self.open(&id, read::<InSession>(params)?.cwd);
                let mut answer = self.settings.offers();
                answer["sessionId"] = json!(id);
                Ok(answer)
            }
            "session/load" | "session/resume" => {
                let session: InSession = read(params)?;
                memory::load::<Value>(&self.settings.home, &session.session_id)?;
                self.open(&session.session_id, session.cwd.clone());
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
            "session/close" => {
                self.cancel(params);
                self.sessions.borrow_mut().remove(&read::<InSession>(params)?.session_id);
                Ok(json!({}))
            }
            "session/delete" => {
                self.cancel(params);
                let session: InSession = read(params)?;
                self.sessions.borrow_mut().remove(&session.session_id);
                memory::forget(&self.settings.home, &session.session_id);
                Ok(json!({}))
            }
            "session/fork" if self.settings.forks() => {
                let source: InSession = read(params)?;
                let held: Value = memory::load(&self.settings.home, &source.session_id)?;
                let id = memory::mint()?;
                memory::save(&self.settings.home, &id, &held)?;
                self.open(&id, source.cwd);
                let mut answer = self.settings.offers();
                answer["sessionId"] = json!(id);
                Ok(answer)
            }
            "session/set_mode" | "session/set_model" | "session/set_config_option" => {
                let session: InSession = read(params)?;
                let mut sessions = self.sessions.borrow_mut();
                let open = sessions.get_mut(&session.session_id);
                let open = open.ok_or_else(|| Fault::new(NOT_FOUND, "no such session"))?;
                choices::set(&mut open.offers, method, params)
            }
            _ => Err(Fault::new(METHOD_NOT_FOUND, format!("no such method: {method}"))),
        }
    }

    fn open(&self, session: &str, place: Option<PathBuf>) {
        let offers = self.settings.offers();
        let open = Open { cancel: watch::Sender::new(0), place, offers };
        self.sessions.borrow_mut().insert(session.to_owned(), open);
    }

    fn turn(&self, session: &str) -> Turn {
        let sessions = self.sessions.borrow();
        let open = sessions.get(session);
        let cancelled = match open {
            Some(open) => open.cancel.subscribe(),
            None => watch::Sender::new(0).subscribe(),
        };
        let (peer, forget) = (Rc::clone(&self.peer), Rc::clone(&self.forget));
        let mut turn = Turn::new(peer, session.to_owned(), cancelled, forget);
        turn.open = sessions.len();
        turn.place = open.and_then(|open| open.place.clone());
        turn.set_to = open.map(|open| choices::told(&open.offers)).unwrap_or_default();
        turn
    }

    fn cancel(&self, params: &RawValue) {
        if let Ok(session) = read::<InSession>(params)
            && let Some(open) = self.sessions.borrow().get(&session.session_id)
        {
            open.cancel.send_modify(|count| *count += 1);
        }
    }

    fn begin(&self, params: &RawValue) -> Result<(Turn, String), Fault> {
        let session: InSession = read(params)?;
        if let Some(code) = self.forget.take() {
            self.sessions.borrow_mut().remove(&session.session_id);
            return Err(Fault::new(code, "no such session"));
        }
        if !self.sessions.borrow().contains_key(&session.session_id) {
            return Err(Fault::new(NOT_FOUND, "no such session"));
        }
        let text: Vec<_> =
            session.prompt.into_iter().map(|block| block.text + &block.uri).collect();
        let mut turn = self.turn(&session.session_id);
        turn.told = session.meta.reeve;
        Ok((turn, text.join("\n")))
    }

    async fn prompt(&self, id: Id, turn: Result<(Turn, String), Fault>) {
        let session = turn.as_ref().map(|(turn, _)| turn.session.clone()).unwrap_or_default();
        let done = match (turn, self.settings.kind) {
            (Ok((turn, text)), Kind::Echo) => echo::prompt(&self.settings, &turn, &text).await,
            (Ok((turn, text)), Kind::Vanilla) => {
                Some(vanilla::prompt(&self.settings, &turn, &text).await)
            }
            (Ok((turn, text)), Kind::Process) => {
                Some(process::prompt(&self.settings, &self.children, &turn, &text).await)
            }
            (Ok((turn, text)), Kind::Http) => {
                Some(remote::prompt(&self.settings, &turn, &text).await)
            }
            (Err(fault), _) => Some(Err(fault)),
        };
        let answer = match done {
            // A script said that there is to be no answer.
            None => return,
            Some(Ok(done)) => {
                let mut answer = json!({ "stopReason": done.stop_reason });
                match done.usage {
                    Some(Used::Plain(input, output)) => {
                        answer["usage"] = json!({
                            "inputTokens": input,
                            "outputTokens": output,
                            "totalTokens": input + output,
                        });
                    }
                    Some(Used::Quota(input, output)) => {
                        let count = json!({ "input_tokens": input, "output_tokens": output });
                        answer["_meta"] = json!({ "quota": { "token_count": count } });
                    }
                    None => {}
                }
                Ok(answer)
            }
            Some(Err(fault)) => Err(fault),
        };
        drop(self.peer.answer(&id, answer).await);
        self.aside("session/prompt answered", &session).await;
    }

    /// Plays what is to be played between two messages. An agent that is to answer no more never comes
    /// back from it.
    async fn aside(&self, name: &str, session: &str) {
        if self.moment(name, session).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Plays what is to be played at a moment that belongs to no turn. None where nothing is to be
    /// answered then.
    async fn moment(&self, name: &str, session: &str) -> Option<Result<Done, Fault>> {
        let script = self.settings.scripts.get(name).map_or("", String::as_str);
        if !script.is_empty() {
            // What was said before is written first.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        let (peer, forget) = (Rc::clone(&self.peer), Rc::clone(&self.forget));
        let turn = Turn::new(peer, session.to_owned(), self.moments.subscribe(), forget);
        script::play(&turn, &echo::Heard::default(), script).await
    }
}

fn read<T: serde::de::DeserializeOwned>(params: &RawValue) -> Result<T, Fault> {
    serde_json::from_str(params.get()).map_err(|why| Fault::new(INVALID_PARAMS, why.to_string()))
}
