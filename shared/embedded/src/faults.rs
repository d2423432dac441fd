//! Named steps at which a test may kill this process. Without the feature `failpoints` nothing here
//! does anything.
//!
//! A step is `<noun.verb>:<side>`, for example `run.submit:before`. A test names one in
//! `FAILPOINTS` (`run.submit:before=return`) and the process kills itself there with `SIGKILL`, as
//! a power cut would: no destructor, no flush, no answer. `REEVE_FAULT_LOG` names a file to which
//! every step is appended when it is first passed, one per line, so that a test finds out which
//! there are.

/// Reads `FAILPOINTS` and `REEVE_FAULT_LOG`. Called once, where the process starts; steps that are
/// passed before do nothing.
pub fn init() {
    #[cfg(feature = "failpoints")]
    on::init();
}

/// Passes the step, or does not survive it.
pub fn point(step: &str, side: &str) {
    #[cfg(feature = "failpoints")]
    on::point(step, side);
    #[cfg(not(feature = "failpoints"))]
    let _ = (step, side);
}

#[cfg(feature = "failpoints")]
mod on {
    use std::collections::BTreeSet;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    static LOG: OnceLock<Mutex<Log>> = OnceLock::new();

    struct Log {
        file: File,
        seen: BTreeSet<String>,
    }

    pub(super) fn init() {
        // Its destructor would disarm the points. They stay until the process ends.
        std::mem::forget(fail::FailScenario::setup());
        if let Some(path) = std::env::var_os("REEVE_FAULT_LOG") {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            let file = file.expect("REEVE_FAULT_LOG names a file that can be written");
            LOG.get_or_init(|| Mutex::new(Log { file, seen: BTreeSet::new() }));
        }
    }

    pub(super) fn point(step: &str, side: &str) {
        let name = format!("{step}:{side}");
        if let Some(log) = LOG.get() {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if !log.seen.contains(&name) {
                // One write per line: several processes append to the file.
                let written = log.file.write_all(format!("{name}\n").as_bytes());
                written.expect("the fault log can be written");
                log.seen.insert(name.clone());
            }
        }
        if fail::eval(&name, |_| ()).is_some() {
            let killed = kill_process(getpid(), Signal::KILL);
            unreachable!("nobody survives SIGKILL: {killed:?}");
        }
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, ExitStatus};

        use super::*;

        /// What the test below runs in a process of its own. By itself it passes and leaves nothing.
        #[test]
        fn passes_three_steps() {
            init();
            for (step, side) in [("run.submit", "before"), ("run.submit", "after"), ("x.y", "z")] {
                point(step, side);
                point(step, side);
            }
        }

        fn steps_passed(failpoints: &str) -> (ExitStatus, String) {
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("log");
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "faults::on::tests::passes_three_steps"])
                .env("FAILPOINTS", failpoints)
                .env("REEVE_FAULT_LOG", &log)
                .status()
                .unwrap();
            (status, std::fs::read_to_string(log).unwrap())
        }

        #[test]
        fn a_process_dies_at_the_step_that_is_named_and_logs_those_it_passed() {
            let (status, log) = steps_passed("");
            assert!(status.success());
            assert_eq!(log, "run.submit:before\nrun.submit:after\nx.y:z\n");
            let (status, log) = steps_passed("run.submit:after=return");
            assert_eq!(status.signal(), Some(9));
            assert_eq!(log, "run.submit:before\nrun.submit:after\n");
        }
    }
}
