//! What is invoked by something else than a request of the HTTP API: the other half of the table
//! from which the cloud's functions, their triggers and their policies are generated.

use app::Grant;

/// What invokes a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A route of the WebSocket API: `$connect`, `$disconnect`, `$default`, or a frame's `type`.
    Socket(&'static str),
    /// A URL of its own, whose answer is streamed, for the route of this id.
    Url(&'static str),
    /// A URL of its own, open to all and answered in one piece, for the route of this id: for a service
    /// of others that calls back, holds no key of ours, and proves who it is by what it sends.
    Webhook(&'static str),
    /// Requests of the HTTP API that no route of it takes.
    Unrouted,
    /// Messages in the queue of nudges.
    Nudges,
    /// Time: a schedule expression.
    Every(&'static str),
    /// The table's change stream. Failed items are reported one by one.
    Changes,
    /// A task of the cluster has stopped.
    TaskStopped,
    /// The installation is made, changed or removed: a custom resource of its template.
    Installation,
}

/// What a function may use of the installation beside what a [`Grant`] names. Each becomes a
/// statement of its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Reading the key that signs the tokens of shims.
    SigningKey,
    /// Sending to the queue of nudges.
    Nudge,
    /// Writing the secret that holds the installation's first API key.
    FirstKey,
}

/// A function: constant data. Its handler is found by its id where it runs.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// `<artifact>.<operation>`: its name and its handler.
    pub id: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What invokes it; none of them says more than that there is something to do, unless noted.
    pub triggers: &'static [Trigger],
    /// What it may touch.
    pub grants: &'static [Grant],
    /// What else it may use.
    pub needs: &'static [Need],
    /// Seconds it may take.
    pub timeout: u32,
    /// Megabytes it may have.
    pub memory: u32,
}

impl Function {
    /// A function that may touch nothing yet, with the times and sizes of a route's.
    pub const fn new(id: &'static str, triggers: &'static [Trigger]) -> Self {
        Self { id, summary: "", triggers, grants: &[], needs: &[], timeout: 29, memory: 256 }
    }

    /// Says what it does, in a line.
    #[must_use]
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Says what it may touch.
    #[must_use]
    pub const fn grants(mut self, grants: &'static [Grant]) -> Self {
        self.grants = grants;
        self
    }

    /// Says what else it may use.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Says how many seconds it may take.
    #[must_use]
    pub const fn timeout(mut self, seconds: u32) -> Self {
        self.timeout = seconds;
        self
    }

    /// Says how many megabytes it may have.
    #[must_use]
    pub const fn memory(mut self, megabytes: u32) -> Self {
        self.memory = megabytes;
        self
    }

    /// The artifact it is part of.
    pub fn artifact(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(artifact, _)| artifact)
    }
}
