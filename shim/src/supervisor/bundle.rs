//! Holding the bundle that an agent's program is of.
//!
//! What holds here: whoever keeps bundles sees, by a lock of the kernel, that a process runs from one,
//! also from outside of the container, and leaves it alone for as long as that process is there.

use std::fs::File;
use std::path::Path;

use domain::plan::{AgentPlan, BUNDLES};
use rustix::fs::{FlockOperation, flock};

/// Holds the bundle that `plan` names, in its command or in a variable; nothing where it names none.
pub(super) fn hold(plan: &AgentPlan) -> Option<File> {
    let digest = plan.command.iter().chain(plan.env.values()).find_map(|text| named(text))?;
    let bundle = File::open(Path::new(BUNDLES).join(digest)).ok()?;
    flock(&bundle, FlockOperation::NonBlockingLockShared).ok()?;
    Some(bundle)
}

/// The digest in a path of a bundle's.
fn named(text: &str) -> Option<&str> {
    let below = text.strip_prefix(BUNDLES)?.strip_prefix('/')?;
    let digest = below.split('/').next()?;
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_the_bundles_is_one() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(named(&format!("/bundles/{digest}/bin/x")), Some(digest.as_str()));
        for other in ["/bundles", "/bundles/../etc", "bundles/x", "/usr/bin/env", "/bundles/0123"] {
            assert_eq!(named(other), None, "{other}");
        }
        assert_eq!(named(&format!("/elsewhere/{digest}/x")), None);
    }
}
