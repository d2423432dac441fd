//! Tasks as ECS tells of them, and finding ours among them.

use app::ports::{ComputeError, Observed};
use aws_sdk_ecs::operation::describe_tasks::DescribeTasksOutput;
use aws_sdk_ecs::operation::list_tasks::builders::ListTasksFluentBuilder;
use aws_sdk_ecs::types::{self, DesiredStatus, Tag, TaskField};
use domain::ContainerId;
use domain::plan::ContainerPlan;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::reason::unavailable;
use super::{AT_ONCE, Ecs};
use crate::fault::Fault;

/// The most tasks that one `DescribeTasks` takes.
const BATCH: usize = 100;

const REALM: &str = "realm";
const CONTAINER: &str = "container";
const GENERATION: &str = "generation";
const AGENT: &str = "agent";

/// Why a task was stopped from here, as the platform then says.
pub(super) const STOPPED: &str = "reeve: not needed any more";

/// What a task says of itself.
pub(super) fn tags(plan: &ContainerPlan) -> Vec<Tag> {
    let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
    vec![
        tag(REALM, plan.realm.to_string()),
        tag(CONTAINER, plan.container.to_string()),
        tag(GENERATION, plan.generation.to_string()),
        tag(AGENT, plan.agent.to_string()),
    ]
}

/// Whether the platform has decided that a task is to end, or it has.
pub(super) fn has_ended(task: &types::Task) -> bool {
    let stopped = |status: Option<&str>| status == Some("STOPPED");
    stopped(task.desired_status()) || stopped(task.last_status())
}

/// Whether nothing is left of a task.
pub(super) fn is_over(task: &types::Task) -> bool {
    task.last_status() == Some("STOPPED")
}

/// A task of ours.
pub(super) struct Task {
    pub(super) arn: String,
    pub(super) observed: Observed,
    wanted: bool,
    over: bool,
    stopped_here: bool,
}

impl Task {
    /// None where it is not one of ours.
    fn of(task: &types::Task) -> Option<Self> {
        let tag = |key: &str| {
            let tag = task.tags().iter().find(|tag| tag.key() == Some(key))?;
            tag.value()
        };
        Some(Self {
            arn: task.task_arn()?.to_owned(),
            observed: Observed {
                realm: tag(REALM)?.parse().ok()?,
                container: tag(CONTAINER)?.parse().ok()?,
                generation: tag(GENERATION)?.parse().ok()?,
            },
            wanted: !has_ended(task),
            over: is_over(task),
            stopped_here: task.stopped_reason() == Some(STOPPED),
        })
    }

    /// Whether it runs, or is on its way to.
    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether it came to its end, and not because it was stopped from here.
    pub(super) const fn ended_by_itself(&self) -> bool {
        !self.wanted && !self.stopped_here
    }

    /// Whether nothing of it is left.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }
}

impl Ecs {
    /// The tasks of a container that run or are on their way to.
    pub(super) async fn wanted(&self, container: ContainerId) -> Result<Vec<Task>, ComputeError> {
        let mut tasks = self.running(container).await?;
        tasks.retain(Task::is_wanted);
        Ok(tasks)
    }

    /// The tasks of a container that the list has as running: it may lag, so what they are by now is said
    /// of each.
    pub(super) async fn running(&self, container: ContainerId) -> Result<Vec<Task>, ComputeError> {
        // `startedBy` is a filter that takes no other beside it; what is not stopped is listed.
        let by = self.client.list_tasks().started_by(container.to_string());
        self.tasks(by, Some(container)).await
    }

    /// The tasks of a container that are to end and have not: found among all of the cluster that are
    /// to end or ended lately.
    pub(super) async fn stopping(&self, container: ContainerId) -> Result<Vec<Task>, ComputeError> {
        let stopped = self.client.list_tasks().desired_status(DesiredStatus::Stopped);
        let mut tasks = self.tasks(stopped, Some(container)).await?;
        tasks.retain(|task| !task.is_over());
        Ok(tasks)
    }

    /// Every task of ours that runs or is on its way to.
    pub(super) async fn all_wanted(&self) -> Result<Vec<Task>, ComputeError> {
        let mut tasks = self.tasks(self.client.list_tasks(), None).await?;
        tasks.retain(Task::is_wanted);
        Ok(tasks)
    }

    async fn tasks(
        &self,
        list: ListTasksFluentBuilder,
        container: Option<ContainerId>,
    ) -> Result<Vec<Task>, ComputeError> {
        let list = list.cluster(&self.cluster).into_paginator();
        let arns: Result<Vec<String>, _> = list.items().send().collect().await;
        let arns = arns.map_err(|error| unavailable(Fault::of("ListTasks", &error)))?;
        let mut tasks = self.tasks_by_arn(arns).await?;
        // `startedBy` may be what somebody else said.
        tasks.retain(|task| container.is_none_or(|asked| task.observed.container == asked));
        Ok(tasks)
    }

    /// What the platform still knows of these tasks, as far as they are ours.
    pub(super) async fn tasks_by_arn(&self, arns: Vec<String>) -> Result<Vec<Task>, ComputeError> {
        let batches: Vec<_> = arns.chunks(BATCH).map(<[String]>::to_vec).collect();
        let batches = stream::iter(batches).map(|batch| {
            let describe = self.client.describe_tasks().cluster(&self.cluster);
            describe.set_tasks(Some(batch)).include(TaskField::Tags).send()
        });
        let answers: Result<Vec<_>, _> = batches.buffer_unordered(AT_ONCE).try_collect().await;
        let answers = answers.map_err(|error| unavailable(Fault::of("DescribeTasks", &error)))?;
        Ok(answers.iter().flat_map(DescribeTasksOutput::tasks).filter_map(Task::of).collect())
    }
}
