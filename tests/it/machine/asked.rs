//! What somebody may ask for through the API.

use app::{Caller, Error};
use domain::RunId;
use domain::run::Run;
use serde_json::json;

use super::world::{World, pick};

#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    CreateAgent,
    CreateSession(u8),
    Prompt(u8),
    /// The session, and which of its runs; 0 names none.
    Cancel(u8, u8),
    Close(u8),
    /// With force or without.
    Pause(u8, bool),
    Resume(u8),
    /// With force or without.
    Archive(u8, bool),
    Restore(u8),
    Delete(u8),
    /// The run that waits, and which option; none where there is no such.
    Answer(u8, u8),
}

impl World {
    async fn caller(&self) -> Result<Caller, Error> {
        self.app.authenticate(Some(&self.key)).await
    }

    /// Does what somebody asks for, and books that it was accepted. What is refused changes nothing.
    pub(super) async fn ask(&self, what: Ask) -> Result<(), Error> {
        let caller = self.caller().await?;
        let (agents, sessions) = (self.agents(), self.sessions());
        let app = &self.app;
        match what {
            Ask::CreateAgent => {
                let new = json!({ "name": "a", "driver": "acp" });
                let new = serde_json::from_value(new).unwrap();
                app.agents().create(&caller, new).await.map(drop)?;
            }
            Ask::CreateSession(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                let new = serde_json::from_value(json!({ "agentId": agent })).unwrap();
                app.sessions().create(&caller, new).await.map(drop)?;
            }
            Ask::Prompt(which) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                let new = serde_json::from_value(json!({ "prompt": "hello" })).unwrap();
                app.sessions().prompt(&caller, session, new).await.map(drop)?;
            }
            Ask::Cancel(which, run) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                let runs: Vec<RunId> = self.table.ledger(|ledger| {
                    ledger.runs.values().filter(|r| r.session == session).map(|r| r.id).collect()
                });
                let run = if run == 0 { None } else { pick(&runs, run) };
                app.sessions().cancel(&caller, session, run).await.map(drop)?;
            }
            Ask::Answer(which, option) => {
                let waiting: Vec<_> = self.table.ledger(|ledger| {
                    let asked = |run: &Run| Some((run.id, run.permissions.first()?.id.clone()));
                    ledger.runs.values().filter_map(asked).collect()
                });
                let Some((run, request)) = pick(&waiting, which) else { return Ok(()) };
                let option = ["y", "n"].get(usize::from(option));
                let answer = json!({ "requestId": request, "optionId": option });
                let answer = serde_json::from_value(answer).unwrap();
                app.runs().answer(&caller, run, &answer).await.map(drop)?;
            }
            Ask::Close(which) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                app.sessions().close(&caller, session).await.map(drop)?;
            }
            Ask::Pause(which, force) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().pause(&caller, agent, force).await.map(drop)?;
            }
            Ask::Resume(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().resume(&caller, agent).await.map(drop)?;
            }
            Ask::Archive(which, force) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().archive(&caller, agent, force).await.map(drop)?;
            }
            Ask::Restore(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().restore(&caller, agent).await.map(drop)?;
            }
            Ask::Delete(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().delete(&caller, agent, None).await?;
            }
        }
        *self.accepted.lock().unwrap() += 1;
        Ok(())
    }
}
