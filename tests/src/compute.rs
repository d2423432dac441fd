//! What any [`Compute`] does.
//!
//! Each case is an ordinary function, declared once; [`for_compute!`](crate::for_compute) runs them
//! all on one implementation. What only the platform can know or do, a [`Platform`] knows and does.

#![expect(clippy::unwrap_used, reason = "all of this runs in tests")]

use std::time::Duration;

use app::ports::{Compute, Observed};
use async_trait::async_trait;
use domain::container::Resources;
use domain::id::Ulid;
use domain::plan::ContainerPlan;
use domain::text::Slug;
use domain::{AgentId, ContainerId, RealmId};
use futures::future::join_all;

/// The longest anything may take here before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An implementation, and what its suite needs of it beside the port.
#[async_trait]
pub trait Platform: Send + Sync {
    /// The port.
    fn compute(&self) -> &dyn Compute;

    /// The next container that was reported to have ended by itself.
    async fn exited(&self) -> Observed;

    /// Whether one was reported that nobody has asked for yet.
    async fn reported(&self) -> bool;

    /// Returns once a process of the container runs. A platform may take a start as accepted before.
    async fn up(&self, container: ContainerId);

    /// Has the program in the agent's container end.
    async fn quit(&self, agent: AgentId);

    /// Whether a process of the container is left anywhere.
    fn lives(&self, container: ContainerId) -> bool;
}

/// A platform on which the agent's workspace and home are outside of its containers.
pub trait Keeps: Platform {
    /// Whether the agent's workspace or home is there.
    fn remembers(&self, agent: AgentId) -> bool;
}

/// A plan that nobody else has.
pub fn plan() -> ContainerPlan {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    let ulid = Ulid::from_bytes(bytes);
    ContainerPlan {
        realm: RealmId::new(ulid),
        agent: AgentId::new(ulid),
        container: ContainerId::new(ulid),
        generation: 1,
        token: "a token".to_owned(),
        repositories: Vec::new(),
        resources: Resources::default(),
    }
}

/// What is observed of a plan that runs.
pub fn observed(plan: &ContainerPlan) -> Observed {
    Observed { realm: plan.realm, container: plan.container, generation: plan.generation }
}

/// Declares every case once, as a function and as a line in the macro that runs them all.
macro_rules! cases {
    ($(#[$about:meta])* $all:ident on $kind:ident: $(
        $(#[$doc:meta])* async fn $name:ident($platform:ident) $body:block
    )*) => {
        $($(#[$doc])* pub async fn $name($platform: &dyn $kind) $body)*

        $(#[$about])*
        #[macro_export]
        macro_rules! $all {
            ($open:expr) => { $(
                #[tokio::test]
                async fn $name() {
                    let case = async { $crate::compute::$name(&$open.await).await };
                    tokio::time::timeout(3 * $crate::compute::PATIENCE, case).await.unwrap();
                }
            )* };
        }
    };
}

cases! {
    /// Runs every case on the platform that the expression opens.
    for_compute on Platform:

    /// It says so before the first start.
    async fn containers_can_be_started_here(platform) {
        platform.compute().ready().await.unwrap();
        assert!(platform.compute().list().await.unwrap().is_empty());
    }

    /// The second changes nothing, and what runs is described and listed once.
    async fn asking_twice_for_one_start_is_asking_once(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.provision(&plan).await.unwrap();
        compute.provision(&plan).await.unwrap();
        assert_eq!(compute.describe(plan.container).await.unwrap(), Some(observed(&plan)));
        assert_eq!(compute.list().await.unwrap(), [observed(&plan)]);
        platform.up(plan.container).await;
        assert!(platform.lives(plan.container));
        compute.stop(plan.container).await.unwrap();
    }

    /// At the same time, too.
    async fn asking_at_once_for_one_start_is_asking_once(platform) {
        let (compute, plan) = (platform.compute(), plan());
        for outcome in join_all((0..5).map(|_| compute.provision(&plan))).await {
            outcome.unwrap();
        }
        assert_eq!(compute.list().await.unwrap(), [observed(&plan)]);
        compute.stop(plan.container).await.unwrap();
        assert!(!platform.lives(plan.container));
    }

    /// Nobody is told: it was asked for.
    async fn a_new_generation_replaces_the_old_one(platform) {
        let (compute, first) = (platform.compute(), plan());
        let second = ContainerPlan { generation: 2, ..first.clone() };
        compute.provision(&first).await.unwrap();
        compute.provision(&second).await.unwrap();
        assert_eq!(compute.list().await.unwrap(), [observed(&second)]);
        compute.provision(&first).await.unwrap_err();
        assert_eq!(compute.describe(first.container).await.unwrap(), Some(observed(&second)));
        compute.stop(first.container).await.unwrap();
        assert!(!platform.reported().await);
    }

    /// When it returns. It may be asked again, and nobody is told.
    async fn stop_leaves_no_process(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.provision(&plan).await.unwrap();
        platform.up(plan.container).await;
        assert!(platform.lives(plan.container));
        compute.stop(plan.container).await.unwrap();
        assert!(!platform.lives(plan.container));
        assert_eq!(compute.describe(plan.container).await.unwrap(), None);
        assert!(compute.list().await.unwrap().is_empty());
        compute.stop(plan.container).await.unwrap();
        assert!(!platform.reported().await);
    }

    /// What no table knows of is ended by its start, and nobody is told: not another start of the same
    /// container, and not what else runs.
    async fn an_orphan_is_removed_and_nothing_else(platform) {
        let (compute, orphan) = (platform.compute(), plan());
        let wanted = ContainerPlan { generation: 2, ..plan() };
        for plan in [&orphan, &wanted] {
            compute.provision(plan).await.unwrap();
            platform.up(plan.container).await;
        }
        let mut listed = compute.list().await.unwrap();
        listed.sort();
        let mut expected = [observed(&orphan), observed(&wanted)];
        expected.sort();
        assert_eq!(listed, expected);
        for generation in [1, 3] {
            compute.remove(Observed { generation, ..observed(&wanted) }).await.unwrap();
        }
        for _ in 0..2 {
            compute.remove(observed(&orphan)).await.unwrap();
            assert!(!platform.lives(orphan.container));
        }
        assert_eq!(compute.list().await.unwrap(), [observed(&wanted)]);
        assert!(platform.lives(wanted.container));
        compute.stop(wanted.container).await.unwrap();
        assert!(!platform.reported().await);
    }

    /// What is not there is stopped, is not described, and is forgotten.
    async fn what_is_unknown_is_stopped_already(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.stop(plan.container).await.unwrap();
        compute.forget(plan.agent).await.unwrap();
        assert_eq!(compute.describe(plan.container).await.unwrap(), None);
    }

    /// Each runs, and stopping one leaves the others.
    async fn many_start_side_by_side(platform) {
        let compute = platform.compute();
        let plans: Vec<_> = (0..10).map(|_| plan()).collect();
        for outcome in join_all(plans.iter().map(|plan| compute.provision(plan))).await {
            outcome.unwrap();
        }
        assert_eq!(compute.list().await.unwrap().len(), plans.len());
        compute.stop(plans[0].container).await.unwrap();
        for plan in &plans[1..] {
            assert_eq!(compute.describe(plan.container).await.unwrap(), Some(observed(plan)));
        }
        for outcome in join_all(plans.iter().map(|plan| compute.stop(plan.container))).await {
            outcome.unwrap();
        }
        assert!(plans.iter().all(|plan| !platform.lives(plan.container)));
    }

    /// Once, when nothing of it is left, and it can be started again.
    async fn an_end_by_itself_is_reported_once(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.provision(&plan).await.unwrap();
        platform.up(plan.container).await;
        platform.quit(plan.agent).await;
        assert_eq!(platform.exited().await, observed(&plan));
        assert!(!platform.lives(plan.container));
        assert_eq!(compute.describe(plan.container).await.unwrap(), None);
        compute.provision(&plan).await.unwrap();
        compute.stop(plan.container).await.unwrap();
        assert!(!platform.reported().await);
    }

    /// By name, before anything is changed.
    async fn an_unknown_repository_is_refused(platform) {
        let plan = ContainerPlan {
            repositories: vec![Slug::new("no-such-repository").unwrap()],
            ..plan()
        };
        let refused = platform.compute().provision(&plan).await.unwrap_err();
        assert!(matches!(&refused, app::ports::ComputeError::Refused(_)), "{refused:?}");
        assert!(refused.to_string().contains("no-such-repository"));
        assert!(platform.compute().list().await.unwrap().is_empty());
    }
}

cases! {
    /// Runs every case about workspaces on the platform that the expression opens.
    for_workspaces on Keeps:

    /// A container is an agent's for a while; the workspace is its own.
    async fn stop_leaves_the_workspace(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.provision(&plan).await.unwrap();
        compute.stop(plan.container).await.unwrap();
        assert!(platform.remembers(plan.agent));
    }

    /// For good, and again.
    async fn forget_removes_workspace_and_home(platform) {
        let (compute, plan) = (platform.compute(), plan());
        compute.provision(&plan).await.unwrap();
        compute.stop(plan.container).await.unwrap();
        compute.forget(plan.agent).await.unwrap();
        assert!(!platform.remembers(plan.agent));
        compute.forget(plan.agent).await.unwrap();
    }

    /// Before anything is made for the agent.
    async fn what_is_refused_leaves_no_workspace(platform) {
        let repositories = vec![Slug::new("no-such-repository").unwrap()];
        let plan = ContainerPlan { repositories, ..plan() };
        platform.compute().provision(&plan).await.unwrap_err();
        assert!(!platform.remembers(plan.agent));
    }
}
