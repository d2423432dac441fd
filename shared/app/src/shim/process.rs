//! What becomes of an agent's process.

use domain::container::Word;
use domain::instance::InstanceEvent;
use store::container::Bounds;
use wire::shim::{Process, ProcessState};

use super::ShimCaller;
use crate::commit::retry_conflict;
use crate::{App, Error};

impl App {
    /// A shim says what became of an agent's process. One read and, where it is news, one commit.
    pub async fn shim_process(&self, shim: ShimCaller, process: &Process) -> Result<(), Error> {
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(()) };
            let now = self.now();
            let event = match process.state {
                ProcessState::Ready => InstanceEvent::Ready,
                ProcessState::AuthRequired => InstanceEvent::AuthRequired,
                ProcessState::Exited => InstanceEvent::Exit,
                ProcessState::Failed => InstanceEvent::Fail,
            };
            let detail = process.detail.as_ref().map(|line| line.chars().take(500).collect());
            let auth_methods = process.auth_methods.clone();
            let word =
                Word { asked: process.asked, event, detail, auth_methods, walls: process.walls };
            let mut container = before.value.clone();
            if !container.heard(process.agent, word, now) {
                return Ok(());
            }
            let writes = store::container::write(Some(&before), &container, Bounds::NONE, now);
            self.commit_own("instance.heard", writes).await
        })
        .await
    }
}
