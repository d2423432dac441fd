//! The driver `process`: a program that is run once for each prompt.
//!
//! What holds here: it gets the prompt on its standard input, and what it writes to its standard output
//! is its answer, piece by piece as it comes. Exit status 0 ends the turn; anything else fails it, with
//! the end of what it wrote to its standard error. When a turn has ended, no process of it is left.
//!
//! Deliberately absent: memory of what was said before. A program that wants one has its workspace,
//! and the session's id in `REEVE_SESSION_ID`, and in `REEVE_FORKED_FROM` that of the session which it
//! goes on from, where it is a fork.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use wire::shim::failure;

use super::Done;
use super::client::Turn;
use super::pieces::Text;
use super::settings::Settings;
use crate::acp::message::Fault;
use crate::process::Children;
use crate::process::tree::Kin;
use crate::time::pass;

/// What is kept of the standard error.
const STDERR: usize = 4096;
/// How long output may still come once the program is gone.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Takes a turn.
pub(super) async fn prompt(
    settings: &Settings,
    children: &Children,
    turn: &Turn,
    text: &str,
) -> Result<Done, Fault> {
    let failed = |why: &dyn std::fmt::Display| {
        Fault::stable(failure::PROCESS_FAILED, format!("the program could not be started: {why}"))
    };
    let mut child = command(settings, turn)
        .ok_or_else(|| failed(&"there is none"))?
        .spawn()
        .map_err(|why| failed(&why))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    children.claim(pid, None);
    // Who has left its group is known while no other turn is taken here, and ended with the last.
    let kin = Kin { root: pid, mark: String::new(), uid: None, children: children.clone() };
    let done = tokio::select! {
        done = listen(&mut child, turn, text) => done,
        () = turn.cancellation() => Ok(Done { stop_reason: "cancelled", usage: None }),
    };
    kin.kill().await;
    // Reaped where it was not yet: nobody else may.
    drop(child.wait().await);
    children.release(pid);
    done
}

fn command(settings: &Settings, turn: &Turn) -> Option<Command> {
    let (program, arguments) = settings.command.split_first()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("REEVE_AGENT")
        .env("REEVE_SESSION_ID", &turn.told.session)
        .env("REEVE_RUN_ID", &turn.told.run)
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(other) = &turn.told.forked_from {
        command.env("REEVE_FORKED_FROM", other);
    }
    if let Some(effort) = turn.told.effort {
        command.env("REEVE_EFFORT", <&str>::from(effort));
    }
    if let Some(model) = &settings.model {
        command.env("REEVE_MODEL", model);
    }
    if let Some(text) = &settings.system_prompt {
        command.env("REEVE_SYSTEM_PROMPT", text);
    }
    if let Some(place) = &turn.place {
        command.current_dir(place);
    }
    Some(command)
}

async fn listen(child: &mut Child, turn: &Turn, text: &str) -> Result<Done, Fault> {
    let errors = Rc::new(RefCell::new(VecDeque::new()));
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Fault::stable(failure::PROCESS_FAILED, "its streams could not be opened"));
    };
    let text = text.to_owned();
    // Both end with the processes that hold the other ends.
    tokio::task::spawn_local(async move {
        // Who does not read its prompt need not.
        drop(stdin.write_all(text.as_bytes()).await);
    });
    let drained = tokio::task::spawn_local(drain(stderr, Rc::clone(&errors)));
    let mut said = Text::new(turn);
    let mut piece = vec![0; 16 * 1024];
    let mut status = None;
    loop {
        tokio::select! {
            biased;
            read = stdout.read(&mut piece) => match read {
                Ok(length @ 1..) => said.bytes(&piece[..length]).await?,
                Ok(0) | Err(_) => break,
            },
            ended = child.wait(), if status.is_none() => status = Some(ended),
            // What runs on in the background keeps the stream open.
            () = pass(LAST_WORDS), if status.is_some() => break,
        }
    }
    said.end().await?;
    let status = match status {
        Some(status) => status,
        None => child.wait().await,
    };
    match status {
        Ok(status) if status.success() => Ok(Done { stop_reason: "end_turn", usage: None }),
        Ok(status) => {
            drop(timeout(LAST_WORDS, drained).await);
            let errors: Vec<u8> = errors.borrow().iter().copied().collect();
            Err(exited(status, &errors))
        }
        Err(why) => Err(Fault::stable(failure::PROCESS_FAILED, why.to_string())),
    }
}

async fn drain(mut stderr: ChildStderr, kept: Rc<RefCell<VecDeque<u8>>>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let mut kept = kept.borrow_mut();
        kept.extend(&piece[..length]);
        let surplus = kept.len().saturating_sub(STDERR);
        kept.drain(..surplus);
    }
}

/// Its end tells more than its beginning, and a detail has a limit.
fn exited(status: ExitStatus, errors: &[u8]) -> Fault {
    let said = String::from_utf8_lossy(errors);
    let said = said.trim();
    let from = said.ceil_char_boundary(said.len().saturating_sub(800));
    let separator = if said.is_empty() { "" } else { ": " };
    Fault::stable(failure::PROCESS_FAILED, format!("{status}{separator}{}", &said[from..]))
}
