//! What a container may take as a whole, where the kernel keeps it: what its agent may take, its shim,
//! and some room for what is taken between two looks of who watches each agent and can say which limit
//! it was.

use domain::limits::Limits;

/// What the shim itself may take beside its agents.
const SHIM_MEMORY: u64 = 64 << 20;
const SHIM_PROCESSES: u64 = 64;

/// More than is written to memory between two looks.
const MEMORY_BETWEEN_LOOKS: u64 = 512 << 20;

/// As many as the shim lets a uid start before it has seen that these are too many.
const PROCESSES_BETWEEN_LOOKS: u64 = 64;

/// Microseconds in which a share of the processors is counted.
const PERIOD: u64 = 100_000;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) processes: u64,
    /// Microseconds of one processor, of each [`Ceiling::period`].
    pub(crate) quota: u64,
    /// Microseconds.
    pub(crate) period: u64,
}

impl Ceiling {
    pub(crate) fn over(limits: &Limits) -> Self {
        let memory = limits.memory.saturating_add(limits.scratch);
        Self {
            memory: memory.saturating_add(SHIM_MEMORY + MEMORY_BETWEEN_LOOKS),
            processes: limits.processes.saturating_add(SHIM_PROCESSES + PROCESSES_BETWEEN_LOOKS),
            quota: limits.cpu.saturating_mul(PERIOD),
            period: PERIOD,
        }
    }
}
