//! A platform on which nothing runs.

use std::sync::{Mutex, PoisonError};

use app::ports::{Compute, ComputeError, Observed};
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId};

/// Takes every plan, and starts none. One that is to have a repository is refused: there is none.
#[derive(Debug, Default)]
pub struct Nowhere(Mutex<Vec<ContainerPlan>>);

impl Nowhere {
    /// What was to be started so far, in order.
    pub fn asked(&self) -> Vec<ContainerPlan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl Compute for Nowhere {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        if !plan.repositories.is_empty() {
            return Err(ComputeError::Refused("there is no such repository".to_owned()));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(plan.clone());
        Ok(())
    }

    async fn stop(&self, _: ContainerId) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn describe(&self, _: ContainerId) -> Result<Option<Observed>, ComputeError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: AgentId) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}
