//! Why this machine forbids sandboxes, in words that say what to change.

use super::spec::{Failure, Step};

/// The setting that forbids user namespaces, if one of the known ones does. `read` reads a file of
/// `/proc/sys`.
fn setting(read: impl Fn(&str) -> Option<String>, root: bool) -> Option<String> {
    let value = |path: &str| read(path).and_then(|text| text.trim().parse::<u64>().ok());
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        if value(&format!("user/max_{kind}_namespaces")) == Some(0) {
            return Some(format!(
                "user.max_{kind}_namespaces is 0: `sysctl -w user.max_{kind}_namespaces=10000` allows \
                 sandboxes"
            ));
        }
    }
    if root {
        // The two below are about ordinary users.
        return None;
    }
    if value("kernel/unprivileged_userns_clone") == Some(0) {
        return Some(
            "kernel.unprivileged_userns_clone is 0: `sysctl -w kernel.unprivileged_userns_clone=1` \
             allows sandboxes to ordinary users"
                .to_owned(),
        );
    }
    if value("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some(
            "kernel.apparmor_restrict_unprivileged_userns is 1: give the reeve binary an AppArmor \
             profile with `userns,` or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
                .to_owned(),
        );
    }
    None
}

/// The known setting that forbids sandboxes to this process.
pub(super) fn here() -> Option<String> {
    setting(
        |path| std::fs::read_to_string(format!("/proc/sys/{path}")).ok(),
        rustix::process::geteuid().is_root(),
    )
}

/// What helps where nobody may or will change that.
fn otherwise(reason: String) -> String {
    reason + "; or run agents in containers of a Docker engine: `reeve up --compute docker`"
}

/// Whether `failure` means that it cannot work here, and why; none if it may work another time.
pub(super) fn explain(failure: &Failure) -> Option<String> {
    let denied = failure.errno.is_some_and(|errno| {
        [rustix::io::Errno::PERM, rustix::io::Errno::ACCESS, rustix::io::Errno::NOSPC]
            .iter()
            .any(|known| known.raw_os_error() == errno)
    });
    match failure.step {
        Step::Repository => Some(format!("the repository cannot be mounted: {failure}")),
        Step::Namespaces | Step::Mounts if denied => Some(otherwise(here().map_or_else(
            || {
                format!(
                    "Linux namespaces are not available here ({failure}), and none of the known \
                     sysctls forbids them: look for a seccomp or LSM profile around reeve, as \
                     container runtimes set one"
                )
            },
            |reason| format!("{reason} ({failure})"),
        ))),
        Step::Namespaces if failure.errno == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            let lacks = format!("this kernel lacks namespaces that sandboxes need ({failure})");
            Some(otherwise(lacks))
        }
        Step::Supervise | Step::Namespaces | Step::Mounts | Step::Program => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)], root: bool) -> Option<String> {
        setting(
            |path| {
                settings
                    .iter()
                    .find(|(name, _)| *name == path)
                    .map(|(_, value)| format!("{value}\n"))
            },
            root,
        )
    }

    #[test]
    fn the_setting_that_forbids_is_named() {
        assert_eq!(of(&[], false), None);
        assert_eq!(of(&[("user/max_user_namespaces", "9")], false), None);
        assert_eq!(of(&[("kernel/unprivileged_userns_clone", "1")], false), None);
        for (setting, value, name) in [
            ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
            ("user/max_net_namespaces", "0", "user.max_net_namespaces"),
            ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone"),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "kernel.apparmor_restrict_unprivileged_userns",
            ),
        ] {
            assert!(of(&[(setting, value)], false).unwrap().contains(name), "{name}");
        }
    }

    #[test]
    fn who_cannot_have_sandboxes_is_told_what_else_there_is() {
        for (step, errno) in [
            (Step::Namespaces, rustix::io::Errno::PERM),
            (Step::Namespaces, rustix::io::Errno::NOSPC),
            (Step::Namespaces, rustix::io::Errno::INVAL),
            (Step::Mounts, rustix::io::Errno::ACCESS),
        ] {
            let failure = Failure::of(step, "making namespaces")(errno);
            let told = explain(&failure).unwrap();
            assert!(
                told.contains("--compute docker") && told.contains("making namespaces"),
                "{told}"
            );
        }
        let failure = Failure::of(Step::Namespaces, "making namespaces")(rustix::io::Errno::NOMEM);
        assert_eq!(explain(&failure), None, "it may work another time");
    }

    #[test]
    fn what_is_only_about_ordinary_users_does_not_forbid_root() {
        assert_eq!(of(&[("kernel/unprivileged_userns_clone", "0")], true), None);
        assert!(of(&[("user/max_user_namespaces", "0")], true).is_some());
    }
}
