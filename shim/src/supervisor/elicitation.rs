//! An agent that wants to know something from somebody: asked of the control plane, or declined by the
//! plan.

use std::rc::Rc;

use agent_client_protocol_schema::v1::{
    ClientCapabilities, ElicitationCapabilities, ElicitationFormCapabilities,
    ElicitationUrlCapabilities,
};
use domain::RunId;
use domain::agent::Elicitations;
use domain::elicitation::{Inquiry, MAX_MESSAGE, Reply};
use domain::event;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use wire::shim::{ElicitationRequest, What};

use super::instance::Instance;
use super::stream::Stream;
use crate::acp::message::{Fault, INVALID_PARAMS, Id};
use crate::acp::peer::CallError;
use crate::report::cut;

/// The longest id of a tool call that is passed on.
const TOOL_CALL: usize = 256;

/// The request, as far as it is the same in every way of asking.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    /// None where it belongs to no conversation: then nobody can be asked.
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    tool_call_id: Option<String>,
    message: String,
}

/// What the agent is told that it may ask for.
pub(super) fn offered(policy: Elicitations) -> ClientCapabilities {
    match policy {
        Elicitations::Ask => ClientCapabilities::new().elicitation(
            ElicitationCapabilities::new()
                .form(ElicitationFormCapabilities::new())
                .url(ElicitationUrlCapabilities::new()),
        ),
        Elicitations::Decline => ClientCapabilities::new(),
    }
}

fn read(params: &RawValue) -> Result<(Wanted, Inquiry), Fault> {
    let unfit = |why: &dyn std::fmt::Display| Fault::new(INVALID_PARAMS, why.to_string());
    let wanted = serde_json::from_str(params.get()).map_err(|why| unfit(&why))?;
    let inquiry: Inquiry = serde_json::from_str(params.get()).map_err(|why| unfit(&why))?;
    inquiry.check().map_err(|why| unfit(&why))?;
    Ok((wanted, inquiry))
}

impl Instance {
    /// Has somebody answer, and goes on reading meanwhile.
    pub(super) async fn elicit(
        self: &Rc<Self>,
        id: &Id,
        params: &RawValue,
    ) -> Result<(), CallError> {
        let (wanted, inquiry) = match read(params) {
            Ok(read) => read,
            Err(fault) => return self.peer.answer(id, Err(fault)).await,
        };
        let stream = wanted.session_id.as_deref().and_then(|session| self.stream(session));
        let reply = match (stream, self.plan.elicitations) {
            (Some(stream), Elicitations::Ask) if !stream.cancelling() => {
                let Some((run, request, given)) = stream.elicit(wanted, inquiry) else {
                    return self.peer.answer(id, Ok(json!(Reply::Cancel))).await;
                };
                let (instance, id) = (Rc::clone(self), id.clone());
                tokio::task::spawn_local(async move {
                    let reply = given.await.unwrap_or(Reply::Cancel);
                    stream.replied(run, request, &reply);
                    // Who closed its input does not want to know.
                    drop(instance.peer.answer(&id, Ok(json!(reply))).await);
                });
                return Ok(());
            }
            (_, Elicitations::Ask) => Reply::Cancel,
            (_, Elicitations::Decline) => Reply::Decline,
        };
        self.peer.answer(id, Ok(json!(reply))).await
    }

    /// What was to be done at an address has been done.
    pub(super) fn visited(&self, params: &RawValue) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Visited {
            elicitation_id: String,
        }
        let Ok(visited) = serde_json::from_str::<Visited>(params.get()) else { return };
        for stream in self.all_streams() {
            stream.visited(&visited.elicitation_id);
        }
    }
}

impl Stream {
    /// Puts it to the control plane. None where nobody is there to answer it.
    fn elicit(
        &self,
        wanted: Wanted,
        inquiry: Inquiry,
    ) -> Option<(RunId, String, oneshot::Receiver<Reply>)> {
        let run = self.run()?;
        let (request, given) = self.elicitations.borrow_mut().open()?;
        if let Inquiry::Url { elicitation_id, .. } = &inquiry {
            self.visits.borrow_mut().insert(elicitation_id.clone(), request.clone());
        }
        self.flush();
        let asked = ElicitationRequest {
            request: request.clone(),
            message: wanted.message.chars().take(MAX_MESSAGE).collect(),
            inquiry,
            tool_call: wanted.tool_call_id.map(|call| cut::line(&call, TOOL_CALL)),
        };
        self.push(Some(run), What::Elicited(asked));
        Some((run, request, given))
    }

    /// The control plane's answer to a question of `run`.
    pub(super) fn reply(&self, run: RunId, request: &str, reply: Reply) {
        if self.run() == Some(run) {
            self.elicitations.borrow_mut().give(request, reply);
        }
    }

    /// The agent has the answer to a question of `run`, which may have ended over it.
    fn replied(&self, run: RunId, request: String, reply: &Reply) {
        if self.run() == Some(run) {
            let action = reply.action().to_owned();
            self.push(Some(run), What::Replied { request, action });
        }
    }

    fn visited(&self, elicitation: &str) {
        let request = self.visits.borrow_mut().remove(elicitation);
        if let Some(request) = request {
            let data = json!({ "requestId": request, "elicitationId": elicitation });
            self.tell(event::ELICITATION_COMPLETE, &data);
        }
    }
}
