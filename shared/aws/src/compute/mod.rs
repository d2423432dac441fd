//! Containers as tasks of an ECS cluster, on Fargate or on machines of the cluster.
//!
//! What holds here
//! - One start is one task. It is found by `startedBy`, which is the container, and says in its tags
//!   whose it is and which start: what lacks them is somebody else's and is left alone.
//! - Asking for one start twice, at once, or again after the answer was lost makes one task: the
//!   client token of `RunTask` is made of container and generation, and of how many tasks of that
//!   start have ended before. So a start whose task ended by itself can be asked for again, and all
//!   who ask for it agree on the token without telling each other.
//! - A task counts as running from the moment ECS has accepted it: one that still waits for a
//!   machine, an address or an image is described and listed like one that works. It counts as over
//!   from the moment ECS has decided to stop it.
//! - The boot document is an override of the task's environment: whoever may describe the account's
//!   tasks sees its token, which is worth nothing but to that start, and nothing once it is over.
//! - Throttled and failed calls are made again with jitter, inside a deadline for all attempts. No more
//!   than a few calls of a question are made at once, and no more than a few stops, however many are asked
//!   for: what ECS allows is the whole account's.
//! - Nobody waits for a task to end, which takes up to minutes: it is told to, and who asks again learns
//!   whether it has.
//! - There is one task definition for each size, made by the template and never here; the container's
//!   plan says how much it has to have, and the smallest with as much is taken. What is one container's own
//!   comes as an override of its environment.
//!
//! `ListTasks` may lag behind `RunTask` by seconds: a start that is younger than [`Compute::lag`] says is
//! not missed. A stop that overtakes the list leaves a task behind: its shim is refused and ends, and
//! the reconciler removes it.
//!
//! Its role needs, in the cluster: `ecs:RunTask` on the families of task definitions,
//! `ecs:TagResource` on tasks where `RunTask` makes them, `ecs:StopTask` and `ecs:DescribeTasks` on
//! tasks, `ecs:ListTasks`, and `iam:PassRole` for the roles in the task definitions.
//!
//! Deliberately absent: a disk that outlives its task. An agent begins each start with empty directories;
//! its shim fetches what is kept of them and sends what became of them, and
//! [`forget`](Compute::forget) has nothing to remove.

mod reason;
mod size;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::ports::{Compute, ComputeError, Observed};
use async_trait::async_trait;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::operation::run_task::RunTaskError;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, ContainerOverride, KeyValuePair, LaunchType,
    NetworkConfiguration, PropagateTags, TaskOverride,
};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use domain::limits::Limits;
use domain::plan::ContainerPlan;
use domain::walls::Wall;
use domain::{AgentId, ContainerId};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use wire::shim::{BOOT_VARIABLE, Boot, Egress, Walls};

use crate::fault::Fault;
use crate::{Capacity, Environment, EnvironmentError, Sdk};
use reason::{refused, unavailable};
pub use size::{SIZES, Size};
use tasks::Task;

/// The name of the container in every task definition of ours that runs a shim.
pub const CONTAINER: &str = "agent";

/// What the platform puts around a task, by its definition.
const AROUND: [Wall; 6] = [
    Wall::PidNamespace,
    Wall::MountNamespace,
    Wall::NetworkNamespace,
    Wall::IpcNamespace,
    Wall::MemoryCgroup,
    Wall::CpuCgroup,
];

/// How long all attempts of one call may take together, and how many there are.
const DEADLINE: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// How many calls of one question, and how many stops, are under way at the same time.
const AT_ONCE: usize = 8;

/// How long `ListTasks` may be behind `RunTask`: seconds, by all that is known.
const LAG: Duration = Duration::from_secs(30);

/// How many tasks of one start may have ended by themselves before it counts as hopeless.
const ENDS: u32 = 20;

/// Seconds without a connection after which a shim ends everything: its task costs until then.
const ORPHAN_SECONDS: u64 = 300;

/// A managed WebSocket is billed by the message and ends after ten idle minutes.
const HEARTBEAT_SECONDS: u64 = 60;
const LIVE_MILLIS: u64 = 250;

/// How long durable events are gathered: a report is paid for, and a tool that is quick has answered by
/// then.
const REPORT_MILLIS: u64 = 750;

/// Directories of the image.
const JOURNAL: &str = "/journal";
const WORKSPACE: &str = "/workspace";
const HOME: &str = "/home/agent";
const AGENTS: &str = "/workspace/.agents";

/// The Compute port on ECS.
#[derive(Clone, Debug)]
pub struct Ecs {
    client: Client,
    cluster: String,
    /// What the names of the families of task definitions begin with.
    family: String,
    capacity: Capacity,
    network: AwsVpcConfiguration,
    egress: String,
    /// The tasks that were told to stop from here: to ask for them by name is one call, and to find them
    /// takes a list of all that stopped in the cluster.
    told: Arc<Mutex<BTreeMap<ContainerId, Vec<String>>>>,
    stops: Arc<Semaphore>,
}

impl Ecs {
    /// Containers in the cluster that `environment` names.
    pub fn new(sdk: &Sdk, environment: &Environment) -> Result<Self, EnvironmentError> {
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_BACKOFF)
            .with_max_backoff(MAX_BACKOFF);
        let timeouts = TimeoutConfig::builder().operation_timeout(DEADLINE).build();
        let config = aws_sdk_ecs::config::Builder::from(sdk.config())
            .retry_config(retries)
            .timeout_config(timeouts)
            .build();
        let capacity = environment.capacity()?;
        // Only Fargate asks; machines of the cluster have no other choice.
        let address = matches!(capacity, Capacity::Fargate).then_some(AssignPublicIp::Disabled);
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(environment.subnets()?))
            .set_security_groups(Some(environment.security_groups()?))
            .set_assign_public_ip(address)
            .build()
            .map_err(|_| EnvironmentError::Missing("REEVE_SUBNETS"))?;
        Ok(Self {
            client: Client::from_conf(config),
            cluster: environment.cluster()?.to_owned(),
            family: environment.task_family()?.to_owned(),
            capacity,
            network,
            egress: environment.egress()?.to_owned(),
            told: Arc::default(),
            stops: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// What ended by itself with this task, of which the platform says that it has stopped. None where
    /// it was not ours, where it was stopped from here, and where the start goes on in another task.
    pub async fn ended(&self, arn: &str) -> Result<Option<Observed>, ComputeError> {
        let task = self.tasks_by_arn(vec![arn.to_owned()]).await?.into_iter().next();
        let Some(task) = task.filter(Task::ended_by_itself) else { return Ok(None) };
        let goes_on = self.wanted(task.observed.container).await?;
        let goes_on = goes_on.iter().any(|other| other.observed == task.observed);
        Ok((!goes_on).then_some(task.observed))
    }

    async fn run(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        for ended in 0..ENDS {
            let token = format!("{}-{}-{ended}", plan.container, plan.generation);
            let (arn, stopped) = self.run_once(plan, token).await?;
            let stopped = stopped || {
                // One that the platform does not find yet has only just begun.
                let found = self.tasks_by_arn(vec![arn.clone()]).await?;
                found.first().is_some_and(|task| !task.is_wanted())
            };
            if !stopped {
                tracing::info!(
                    container.id = %plan.container, container.generation = plan.generation,
                    task = arn, "a task runs"
                );
                return Ok(());
            }
        }
        let why = format!("{ENDS} tasks of this start have ended by themselves");
        Err(unavailable(Fault::new("RunTask", why)))
    }

    /// The task that has this token, made now or before, and whether the platform says of it already
    /// that it has ended.
    async fn run_once(
        &self,
        plan: &ContainerPlan,
        token: String,
    ) -> Result<(String, bool), ComputeError> {
        let size = size::of(plan.resources)?;
        let boot = Boot {
            container: plan.container,
            generation: plan.generation,
            token: plan.token.clone(),
            egress: Egress::Tcp(self.egress.clone()),
            journal: JOURNAL.to_owned(),
            workspace: WORKSPACE.to_owned(),
            home: HOME.to_owned(),
            agents: AGENTS.to_owned(),
            orphan_seconds: ORPHAN_SECONDS,
            heartbeat_seconds: HEARTBEAT_SECONDS,
            live_millis: LIVE_MILLIS,
            report_millis: REPORT_MILLIS,
            fresh: true,
            walls: Walls { around: AROUND.into_iter().collect(), ..Walls::default() },
            limits: Limits::default().within(&plan.resources),
        };
        let boot = serde_json::to_string(&boot).map_err(unavailable)?;
        let boot = KeyValuePair::builder().name(BOOT_VARIABLE).value(boot).build();
        let own = ContainerOverride::builder().name(CONTAINER).environment(boot).build();
        let network = NetworkConfiguration::builder().awsvpc_configuration(self.network.clone());
        let answer = self
            .client
            .run_task()
            .cluster(&self.cluster)
            .task_definition(format!("{}-{}", self.family, size.name))
            .count(1)
            .client_token(token)
            .started_by(plan.container.to_string())
            .set_tags(Some(tasks::tags(plan)))
            .enable_ecs_managed_tags(true)
            // That of the installation, by which its costs are told.
            .propagate_tags(PropagateTags::TaskDefinition)
            .network_configuration(network.build())
            .overrides(TaskOverride::builder().container_overrides(own).build())
            // Without one, the cluster's own strategy decides, or its machines.
            .set_launch_type(match self.capacity {
                Capacity::Fargate => Some(LaunchType::Fargate),
                Capacity::Ec2 => None,
            })
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error)) => {
                // The request was another one when this start was first asked for: before a deployment.
                if let RunTaskError::ConflictException(conflict) = error.err()
                    && let [arn, ..] = conflict.resource_ids()
                {
                    return Ok((arn.clone(), false));
                }
                return Err(reason::of_error(error.err()));
            }
            Err(error) => return Err(unavailable(Fault::of("RunTask", &error))),
        };
        if let Some(task) = answer.tasks().first()
            && let Some(arn) = task.task_arn()
        {
            return Ok((arn.to_owned(), tasks::has_ended(task)));
        }
        Err(reason::of_failures(answer.failures()))
    }

    /// Tells those of these tasks to stop that are still wanted. Answers with the names of those of which
    /// something is left.
    async fn end(&self, tasks: Vec<Task>) -> Result<Vec<String>, ComputeError> {
        let tasks = stream::iter(tasks.into_iter().filter(|task| !task.is_over()));
        let ended = tasks.map(|task| async move {
            let over = task.is_wanted() && self.tell(&task).await?;
            Ok((!over).then_some(task.arn))
        });
        let ended: Vec<Option<String>> = ended.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(ended.into_iter().flatten().collect())
    }

    /// Tells a task to stop; whether it has already.
    async fn tell(&self, task: &Task) -> Result<bool, ComputeError> {
        let stop = self.client.stop_task().cluster(&self.cluster).task(&task.arn);
        match stop.reason(tasks::STOPPED).send().await {
            Ok(told) => Ok(told.task().is_some_and(tasks::is_over)),
            // It is gone from the platform's memory.
            Err(error) if reason::is_unknown_task(&error) => Ok(true),
            Err(error) => Err(unavailable(Fault::of("StopTask", &error))),
        }
    }

    /// The tasks of a container that were told to stop from here, and were not seen to have stopped.
    fn told(&self, container: ContainerId) -> Vec<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&container).cloned().unwrap_or_default()
    }

    fn note(&self, container: ContainerId, left: &[String]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            told.remove(&container);
        } else {
            told.insert(container, left.to_vec());
        }
    }
}

#[async_trait]
impl Compute for Ecs {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        if !plan.repositories.is_empty() {
            let names: Vec<_> = plan.repositories.iter().map(ToString::to_string).collect();
            return Err(refused(format!(
                "the agent names repositories of the operator's machine ({}), which a task on ECS \
                 cannot mount: take them out of the agent, or run it on that machine",
                names.join(", ")
            )));
        }
        let present = self.wanted(plan.container).await?;
        let generation = |task: &Task| task.observed.generation;
        if let Some(newer) = present.iter().map(generation).find(|&one| one > plan.generation) {
            return Err(refused(format!(
                "generation {} of this container is over: {newer} runs",
                plan.generation
            )));
        }
        let (same, older): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|task| generation(task) == plan.generation);
        // It shares nothing with the new one, and what it says does not count any more.
        self.end(older).await?;
        if same.is_empty() { self.run(plan).await } else { Ok(()) }
    }

    /// One call while what was told to stop from here has not; then two where something runs, and where
    /// nothing does one, and two for every hundred tasks of the cluster that stopped in the last hour.
    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        let _turn = self.stops.acquire().await.map_err(unavailable)?;
        let told = self.told(container);
        let mut left = self.tasks_by_arn(told.clone()).await?;
        left.retain(|task| !task.is_over());
        if left.is_empty() {
            left = self.running(container).await?;
            left.retain(|task| !task.is_over());
        }
        if left.is_empty() && told.is_empty() {
            left = self.stopping(container).await?;
        }
        let left = self.end(left).await?;
        self.note(container, &left);
        if left.is_empty() { Ok(()) } else { Err(ComputeError::Leaving) }
    }

    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        let _turn = self.stops.acquire().await.map_err(unavailable)?;
        let mut wanted = self.wanted(start.container).await?;
        wanted.retain(|task| task.observed == start);
        self.end(wanted).await.map(drop)
    }

    /// Two calls where something runs, else one.
    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        let wanted = self.wanted(container).await?.into_iter();
        Ok(wanted.map(|task| task.observed).max_by_key(|observed| observed.generation))
    }

    /// Two calls for every hundred tasks of the cluster. A start is listed once, however many tasks it
    /// has.
    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        let mut all: Vec<_> =
            self.all_wanted().await?.into_iter().map(|task| task.observed).collect();
        all.sort_by_key(|one| (one.container, one.generation));
        all.dedup();
        Ok(all)
    }

    fn lag(&self) -> Duration {
        LAG
    }

    /// Nothing: the disk of a task went with it.
    async fn forget(&self, _agent: AgentId) -> Result<(), ComputeError> {
        Ok(())
    }

    /// Whether the cluster answers. One call, of those that are made anyway.
    async fn ready(&self) -> Result<(), ComputeError> {
        match self.client.list_tasks().cluster(&self.cluster).max_results(1).send().await {
            Ok(_) => Ok(()),
            Err(error) if reason::is_unknown_cluster(&error) => Err(refused(format!(
                "there is no ECS cluster {}: deploy the installation again",
                self.cluster
            ))),
            Err(error) => Err(unavailable(Fault::of("ListTasks", &error))),
        }
    }
}
