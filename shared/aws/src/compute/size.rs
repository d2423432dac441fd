//! The sizes of tasks: a task definition for each, made by the template.

use app::ports::ComputeError;
use domain::container::Resources;

use super::reason::refused;

/// A size of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What the name of its family of task definitions ends with.
    pub name: &'static str,
    /// Thousandths of a processor.
    pub milli_processors: u64,
    /// Bytes of memory.
    pub memory: u64,
}

const GIB: u64 = 1 << 30;

/// Every size there is, the smallest first.
pub const SIZES: [Size; 3] = [
    Size { name: "small", milli_processors: 500, memory: GIB },
    Size { name: "medium", milli_processors: 1_000, memory: 4 * GIB },
    Size { name: "large", milli_processors: 4_000, memory: 16 * GIB },
];

/// The smallest size that has as much: the smallest of all where nothing is said.
pub(super) fn of(wanted: Resources) -> Result<Size, ComputeError> {
    let Resources { cpu_count, memory_bytes, pids: _ } = wanted;
    let processors = 1_000 * u64::from(cpu_count.unwrap_or_default());
    let memory = memory_bytes.unwrap_or_default();
    let enough = |size: &&Size| size.milli_processors >= processors && size.memory >= memory;
    SIZES.iter().find(enough).copied().ok_or_else(|| {
        refused(
            "the container is to have more processors or memory than the largest task here: ask for 4 \
             processors and 16 GiB at most",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(cpu_count: Option<u32>, memory_bytes: Option<u64>) -> Option<&'static str> {
        let wanted = Resources { cpu_count, memory_bytes, ..Resources::default() };
        of(wanted).ok().map(|size| size.name)
    }

    #[test]
    fn the_smallest_that_has_as_much_is_chosen() {
        assert_eq!(chosen(None, None), Some("small"));
        assert_eq!(chosen(None, Some(GIB)), Some("small"));
        assert_eq!(chosen(None, Some(GIB + 1)), Some("medium"));
        assert_eq!(chosen(Some(1), None), Some("medium"));
        assert_eq!(chosen(Some(2), Some(1)), Some("large"));
        assert_eq!(chosen(Some(4), Some(16 * GIB)), Some("large"));
        assert_eq!(chosen(Some(5), None), None);
        assert_eq!(chosen(None, Some(u64::MAX)), None);
    }
}
