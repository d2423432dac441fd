//! Starting one sandbox: its directories, its supervisor, and what the two say to each other.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::AgentId;
use domain::plan::ContainerPlan;
use domain::walls::{Standing, Wall};
use tokio::io::{AsyncBufReadExt, BufReader};
use wire::shim::{Boot, Egress, FIRST_UID, UIDS, Walls, uid_of};

use super::life::{self, Held};
use super::spec::{self, Failure, INSIDE, SOCKET, Said, Spec, Step};
use super::{Config, root, tree};

/// What a shim writes on its outputs, in its sandbox's directory.
pub(super) const LOG: &str = "log";

/// How long a start may take before it counts as failed. A loaded machine needs a second.
const START: Duration = Duration::from_secs(15);

/// Frames cost nothing here: a dead shim is noticed soon, and a text is seen as it is written.
const HEARTBEAT_SECONDS: u64 = 5;
const LIVE_MILLIS: u64 = 20;

/// What a sandbox that has started has around it: it would not have, without.
const AROUND: [Wall; 5] = [
    Wall::UserNamespace,
    Wall::PidNamespace,
    Wall::MountNamespace,
    Wall::NetworkNamespace,
    Wall::IpcNamespace,
];

/// What a sandbox has around it where the kernel keeps limits by control groups that stand for `groups`.
pub(super) fn around(groups: Standing) -> Standing {
    AROUND.into_iter().fold(groups, Standing::with)
}

/// The ids outside that the sandbox's own are mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    /// The shim's.
    uid: u32,
    gid: u32,
    /// Whether they are others than our own. Then agents have theirs, too.
    foreign: bool,
}

/// Far from what system and people have, inside what is set aside for containers. Root must not be
/// it: outside of any capability, the owner of the files in `/proc/sys` may write them.
const FOREIGN: u32 = 0x6000_0000;

/// How many ids from there on may be used: the shim's, and those of agents behind it.
const IDS: u32 = FIRST_UID + UIDS;

impl Outside {
    /// What is possible for this process.
    pub(super) fn choose() -> Self {
        let own = Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            foreign: false,
        };
        let mapped =
            |file: &str| fs::read_to_string(file).is_ok_and(|map| covers(&map, FOREIGN, IDS));
        // Inside another container there may be no such id; its root is not the machine's then.
        if own.uid == 0 && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map") {
            return Self { uid: FOREIGN, gid: FOREIGN, foreign: true };
        }
        own
    }

    /// The uid of `agent` inside, where it has another than the shim.
    fn inside(self, agent: AgentId) -> Option<u32> {
        self.foreign.then(|| uid_of(agent))
    }

    fn own(self, path: &Path) -> io::Result<()> {
        if self.foreign { lchown(path, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    /// Gives `path` and all below it to `agent`, unless it has it already.
    fn give(self, path: &Path, agent: AgentId) -> io::Result<()> {
        let Some(uid) = self.inside(agent).map(|inside| FOREIGN + inside) else { return Ok(()) };
        if fs::symlink_metadata(path)?.uid() == uid {
            return Ok(());
        }
        tree::each(path, &|path| lchown(path, Some(uid), Some(uid)))
    }

    /// Maps the ids of the namespace that `supervisor` has made.
    fn map(self, supervisor: &Child) -> io::Result<()> {
        let of = |file: &str| format!("/proc/{}/{file}", supervisor.id());
        // An ordinary user may map a group only once groups cannot be changed any more.
        fs::write(of("setgroups"), "deny")?;
        let agents = format!("{FIRST_UID} {} {UIDS}\n", FOREIGN + FIRST_UID);
        let agents = if self.foreign { agents.as_str() } else { "" };
        fs::write(of("uid_map"), format!("{INSIDE} {} 1\n{agents}", self.uid))?;
        fs::write(of("gid_map"), format!("{INSIDE} {} 1\n{agents}", self.gid))
    }
}

/// Whether a map has `count` ids from `first` on, in one of its ranges.
fn covers(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(begin)), Some(Ok(length))) => {
                first >= begin && first - begin < length && length - (first - begin) >= count
            }
            _ => false,
        }
    })
}

/// Makes the directories of the sandbox of `spec` as they are at its start, and writes down what it
/// is. From here on it can be found. `kept` is what will stand around it.
pub(super) fn prepare(
    spec: &Spec,
    plan: Option<(&ContainerPlan, &Config)>,
    outside: Outside,
    kept: Standing,
) -> io::Result<()> {
    tree::remove(&spec.dir)?;
    private(&spec.dir)?;
    if let Some((plan, config)) = plan {
        let agent = spec::Layout { data: spec.data.clone() }.agent(plan.agent);
        private(&agent)?;
        for name in ["workspace", "home"] {
            let path = agent.join(name);
            private(&path)?;
            outside.give(&path, plan.agent)?;
        }
        // The shim makes what is in it, and gives it away.
        let agents = agent.join("agents");
        private(&agents)?;
        outside.own(&agents)?;
        let journal = spec.dir.join("journal");
        private(&journal)?;
        outside.own(&journal)?;
        let run = spec.dir.join("run");
        fs::create_dir(&run)?;
        // Sticky: the sandbox takes its boot document away, but not a socket that root made.
        fs::set_permissions(&run, Permissions::from_mode(0o1777))?;
        let boot = Boot {
            container: plan.container,
            generation: plan.generation,
            token: plan.token.clone(),
            egress: Egress::Unix(format!("{}/{SOCKET}", root::RUN)),
            journal: root::JOURNAL.to_owned(),
            workspace: root::WORKSPACE.to_owned(),
            home: root::HOME.to_owned(),
            agents: root::AGENTS.to_owned(),
            orphan_seconds: config.orphan_seconds,
            heartbeat_seconds: HEARTBEAT_SECONDS,
            live_millis: LIVE_MILLIS,
            report_millis: 0,
            fresh: false,
            walls: Walls {
                mounts: Some(root::MOUNTS.to_owned()),
                uid: outside.inside(plan.agent),
                around: kept,
            },
            limits: config.limits.within(&plan.resources),
        };
        let path = run.join("boot.json");
        secret(&path, &serde_json::to_vec(&boot)?)?;
        outside.own(&path)?;
    }
    secret(&spec.dir.join(life::ALIVE), b"")?;
    // Not synced: a power failure that could lose it ends what it speaks of.
    secret(&spec::document(&spec.dir), &serde_json::to_vec(spec)?)
}

/// Makes a directory that nobody else may enter, and those above it.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Lets the sandbox connect to the socket that was made for it.
pub(super) fn open_socket(dir: &Path) -> io::Result<()> {
    match fs::set_permissions(dir.join("run").join(SOCKET), Permissions::from_mode(0o666)) {
        // Nobody listens: the shim will say so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Starts the supervisor of `spec` and returns once the first process has become the program.
pub(super) async fn start(helper: &Path, spec: &Spec, outside: Outside) -> Result<Held, Failure> {
    let supervise =
        |what: &'static str| move |error: io::Error| Failure::of(Step::Supervise, what)(error);
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(spec.dir.join(LOG))
        .map_err(supervise("its log"))?;
    let mut command = Command::new(helper);
    command
        .arg("sandbox")
        .arg(spec::document(&spec.dir))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().map_err(supervise("starting the supervisor"))?;
    let held = Held::open(child.id())
        .and_then(|held| held.ok_or_else(|| io::Error::other("it is gone")))
        .map_err(supervise("holding the supervisor"))?;
    let outcome = tokio::time::timeout(START, converse(&mut child, outside)).await;
    let failure = match outcome {
        Ok(Ok(())) => return Ok(held),
        Ok(Err(failure)) => failure,
        Err(late) => supervise("starting")(io::Error::new(io::ErrorKind::TimedOut, late)),
    };
    held.kill();
    held.ended().await;
    Err(failure)
}

async fn converse(child: &mut Child, outside: Outside) -> Result<(), Failure> {
    let hear =
        |what: &'static str| move |error: io::Error| Failure::of(Step::Supervise, what)(error);
    let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let output = child.stdout.take().ok_or_else(lost).map_err(hear("the supervisor's output"))?;
    let output = tokio::process::ChildStdout::from_std(output).map_err(hear("its output"))?;
    let mut lines = BufReader::new(output).lines();
    loop {
        let line = lines.next_line().await.map_err(hear("the supervisor"))?;
        let line = line.ok_or_else(lost).map_err(hear("the supervisor"))?;
        let said = serde_json::from_str(&line).map_err(io::Error::from);
        match said.map_err(hear("understanding the supervisor"))? {
            Said::Map => {
                outside.map(child).map_err(Failure::of(Step::Namespaces, "mapping ids"))?;
                let input = child.stdin.take().ok_or_else(lost);
                input
                    .and_then(|mut pipe| pipe.write_all(b"\n"))
                    .map_err(hear("answering the supervisor"))?;
            }
            Said::Started => return Ok(()),
            Said::Failed(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_covers_what_lies_in_one_of_its_ranges() {
        assert!(covers("         0          0 4294967295\n", FOREIGN, IDS));
        assert!(!covers("0 1000 1\n", FOREIGN, IDS));
        assert!(!covers("0 100000 65536\n", FOREIGN, 1));
        assert!(covers("0 1000 1\n1610612736 9 1\n", FOREIGN, 1));
        assert!(!covers("0 1000 1\n1610612736 9 1\n", FOREIGN, 2));
        assert!(!covers("", FOREIGN, 1));
    }
}
