//! One end of a JSON-RPC connection: calls with deadlines, answers, notifications.
//!
//! What holds here: every call ends, by its answer, its deadline or the end of the connection. What
//! the other side does not read fills its pipe, then [`WAITING`] messages, then whoever sends waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::message::{self, Fault, Id};

/// Messages that may wait for the other side to read.
const WAITING: usize = 64;

type Answered = Result<Box<RawValue>, Fault>;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The other side did not answer in time.
    Late,
    /// The connection is gone.
    Closed,
    /// The other side answered with a failure.
    Fault(Fault),
}

/// One end.
#[derive(Debug)]
pub(crate) struct Peer {
    out: RefCell<Option<mpsc::Sender<Vec<u8>>>>,
    next: Cell<i64>,
    open: RefCell<BTreeMap<i64, oneshot::Sender<Answered>>>,
}

/// A call that has been sent.
#[derive(Debug)]
pub(crate) struct Call {
    peer: Rc<Peer>,
    id: i64,
    answer: oneshot::Receiver<Answered>,
}

impl Peer {
    /// An end that writes to `writer`.
    pub(crate) fn new(mut writer: impl AsyncWrite + Unpin + 'static) -> Rc<Self> {
        let (out, mut lines) = mpsc::channel::<Vec<u8>>(WAITING);
        tokio::task::spawn_local(async move {
            while let Some(line) = lines.recv().await {
                if writer.write_all(&line).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        });
        Rc::new(Self { out: RefCell::new(Some(out)), next: Cell::new(0), open: RefCell::default() })
    }

    /// Sends one line.
    pub(crate) async fn send(&self, line: Vec<u8>) -> Result<(), CallError> {
        let out = self.out.borrow().clone().ok_or(CallError::Closed)?;
        out.send(line).await.map_err(|_| CallError::Closed)
    }

    /// Sends a request; the answer is waited for separately.
    pub(crate) async fn start(
        self: &Rc<Self>,
        method: &str,
        params: &impl Serialize,
    ) -> Result<Call, CallError> {
        let id = self.next.get();
        self.next.set(id + 1);
        let (answered, answer) = oneshot::channel();
        self.open.borrow_mut().insert(id, answered);
        // Made before the first await: a call that is dropped on its way is forgotten.
        let call = Call { peer: Rc::clone(self), id, answer };
        self.send(message::call(Some(id), method, params)).await?;
        Ok(call)
    }

    /// Sends a request and waits for its answer until `deadline`.
    pub(crate) async fn call(
        self: &Rc<Self>,
        method: &str,
        params: &impl Serialize,
        deadline: Instant,
    ) -> Result<Box<RawValue>, CallError> {
        let answered = async { self.start(method, params).await?.answer().await };
        timeout_at(deadline, answered).await.unwrap_or(Err(CallError::Late))
    }

    /// Sends a notification.
    pub(crate) async fn notify(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<(), CallError> {
        self.send(message::call(None, method, params)).await
    }

    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        id: &Id,
        result: Result<Value, Fault>,
    ) -> Result<(), CallError> {
        self.send(message::answer(id, result)).await
    }

    /// Takes an answer in. Says whether anybody asked.
    pub(crate) fn resolve(&self, id: &Id, result: Answered) -> bool {
        let call = id.number().and_then(|id| self.open.borrow_mut().remove(&id));
        call.is_some_and(|call| call.send(result).is_ok())
    }

    /// Ends the connection: every open call is [`CallError::Closed`], and the other side sees the
    /// end of its input.
    pub(crate) fn close(&self) {
        self.out.borrow_mut().take();
        self.open.borrow_mut().clear();
    }
}

impl Call {
    /// Waits for the answer. May be dropped and called again.
    pub(crate) async fn answer(&mut self) -> Result<Box<RawValue>, CallError> {
        match (&mut self.answer).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(fault)) => Err(CallError::Fault(fault)),
            Err(_) => Err(CallError::Closed),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.peer.open.borrow_mut().remove(&self.id);
    }
}
