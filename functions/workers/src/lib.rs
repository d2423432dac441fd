//! What is invoked by time, by changes of the table and by the platform.
//!
//! What holds here: none of these is told what to do. A schedule, a message and a change say that
//! there may be something; what it is is read from the table, so once, twice and late are the same.

pub mod scheduler;

use app::Grant;
use gate::{Function, Need, Trigger};

/// Every function of this area.
pub const FUNCTIONS: &[Function] = &[
    Function::new("workers.scheduler", &[Trigger::Nudges, Trigger::Every("rate(1 minute)")])
        .summary("Carry out what is due")
        .grants(&[
            Grant::TableRead,
            Grant::TableWrite,
            Grant::ComputeStart,
            Grant::ComputeStop,
            Grant::Push,
            Grant::Outside,
            Grant::BlobRead,
            Grant::BlobWrite,
            Grant::WorkspaceRead,
        ])
        .needs(&[Need::SigningKey])
        // An errand may wait until a task has stopped.
        .timeout(120),
    Function::new("workers.changes", &[Trigger::Changes])
        .summary("Nudge the scheduler, and tell clients what they follow")
        .grants(&[Grant::TableRead, Grant::TableWrite, Grant::Push])
        .needs(&[Need::Nudge]),
    Function::new("workers.tasks", &[Trigger::TaskStopped, Trigger::Every("rate(5 minutes)")])
        .summary("Take note of containers that ended, and end those that nobody needs")
        .grants(&[Grant::TableRead, Grant::TableWrite, Grant::ComputeStop])
        .timeout(120),
    Function::new("workers.bootstrap", &[Trigger::Installation])
        .summary("Make the first realm and its key; end every task before the installation goes")
        .grants(&[Grant::TableRead, Grant::TableWrite, Grant::ComputeStop])
        .needs(&[Need::FirstKey])
        .timeout(300),
];
