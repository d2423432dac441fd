//! Making one container: its directories on this machine, and what the engine is told.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use app::ports::ComputeError;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use domain::plan::{BUNDLES, ContainerPlan};
use domain::walls::Wall;
use wire::shim::{BOOT_VARIABLE, Boot, Egress, Walls, uid_of};

use super::{Config, OWNER, PLACE, is, name, unavailable};
use crate::ceiling::Ceiling;
use crate::sandbox::{Layout, Place, SOCKET, each, private};

/// Directories of the image.
const RUN: &str = "/run/reeve";
const JOURNAL: &str = "/journal";
const WORKSPACE: &str = "/workspace";
const HOME: &str = "/home/agent";
const AGENTS: &str = "/agents";

/// With these the shim starts agents as others than itself, takes every capability from them for good,
/// gives them what is theirs, and ends them.
const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETPCAP", "SETUID"];

/// What the engine puts around a container by what it is told of it. Its own filter of system calls is
/// its operator's; that of agents comes on top.
pub(super) const AROUND: [Wall; 7] = [
    Wall::PidNamespace,
    Wall::MountNamespace,
    Wall::NetworkNamespace,
    Wall::IpcNamespace,
    Wall::MemoryCgroup,
    Wall::PidsCgroup,
    Wall::CpuCgroup,
];

/// How much room a file in `/tmp` takes on average before there are too many of them.
const FILE: u64 = 4 << 10;

/// Frames cost nothing here.
const HEARTBEAT_SECONDS: u64 = 5;
const LIVE_MILLIS: u64 = 20;

/// The uid of a container's agent, where this process may give its files to another.
fn uid(plan: &ContainerPlan) -> Option<u32> {
    rustix::process::geteuid().is_root().then(|| uid_of(plan.agent))
}

/// The repositories of a plan and where they are.
pub(super) fn repositories(
    config: &Config,
    plan: &ContainerPlan,
) -> Result<Vec<(String, PathBuf)>, ComputeError> {
    let find = |name: &str| match config.repositories.get(name) {
        Some(path) => Ok((name.to_owned(), path.clone())),
        None => Err(ComputeError::Refused(format!(
            "no repository `{name}` is configured on this machine"
        ))),
    };
    plan.repositories.iter().map(|name| find(name.as_str())).collect()
}

/// Makes the directories of a container as they are at its start.
pub(super) fn prepare(layout: &Layout, plan: &ContainerPlan) -> io::Result<()> {
    let agent = layout.agent(plan.agent);
    private(&agent)?;
    for name in ["workspace", "home"] {
        let path = agent.join(name);
        private(&path)?;
        if let Some(uid) = uid(plan)
            && fs::symlink_metadata(&path)?.uid() != uid
        {
            each(&path, &|path| lchown(path, Some(uid), Some(uid)))?;
        }
    }
    // Each finds its own in there by its name, and the way to it is closed above, on this machine.
    let agents = agent.join("agents");
    private(&agents)?;
    fs::set_permissions(&agents, Permissions::from_mode(0o711))?;
    let run = layout.container(plan.container).join("run");
    private(&run)?;
    fs::set_permissions(&run, Permissions::from_mode(0o711))?;
    let passwd = uid(plan).unwrap_or_else(|| rustix::process::geteuid().as_raw());
    fs::write(
        layout.container(plan.container).join("passwd"),
        format!(
            "root:x:0:0:root:/:/sbin/nologin\nagent:x:{passwd}:{passwd}:agent:{HOME}:/bin/sh\n\
             nobody:x:65534:65534:nobody:/:/sbin/nologin\n"
        ),
    )
}

/// Lets whoever is in a container connect to the socket that was made for it.
pub(super) fn open_to_all(socket: &Path) -> io::Result<()> {
    match fs::set_permissions(socket, Permissions::from_mode(0o666)) {
        // Nobody listens: the shim will say so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Has the engine make the container and start it.
pub(super) async fn start(
    engine: &bollard::Docker,
    config: &Config,
    layout: &Layout,
    plan: &ContainerPlan,
    place: &Place,
    repositories: Vec<(String, PathBuf)>,
) -> Result<(), ComputeError> {
    let name = name(plan.container);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let body = body(config, layout, plan, place, &repositories).map_err(unavailable)?;
    match engine.create_container(Some(options), body).await {
        Ok(_) => {}
        Err(error) if is(&error, 404) || is(&error, 400) => {
            return Err(ComputeError::Refused(error.to_string()));
        }
        Err(error) => return Err(unavailable(error)),
    }
    engine.start_container(&name, None).await.map_err(unavailable)
}

fn body(
    config: &Config,
    layout: &Layout,
    plan: &ContainerPlan,
    place: &Place,
    repositories: &[(String, PathBuf)],
) -> serde_json::Result<ContainerCreateBody> {
    let boot = serde_json::to_string(&boot(config, plan))?;
    let (agent, own) = (layout.agent(plan.agent), layout.container(plan.container));
    let mut binds = vec![
        bind(&agent.join("workspace"), WORKSPACE, "rw"),
        bind(&agent.join("home"), HOME, "rw"),
        bind(&agent.join("agents"), AGENTS, "rw"),
        bind(&own.join("run"), RUN, "ro"),
        bind(&own.join("passwd"), "/etc/passwd", "ro"),
    ];
    let bundles = layout.bundles();
    binds.extend(bundles.is_dir().then(|| bind(&bundles, BUNDLES, "ro")));
    binds.extend(
        repositories.iter().map(|(name, path)| bind(path, &format!("/repositories/{name}"), "ro")),
    );
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let limits = &config.limits.within(&plan.resources);
    let tmpfs = [
        (JOURNAL.to_owned(), format!("mode=0700,uid={},gid={},nosuid,nodev", me.0, me.1)),
        (
            "/tmp".to_owned(),
            format!(
                "mode=1777,exec,nosuid,nodev,size={},nr_inodes={}",
                limits.scratch,
                limits.scratch / FILE + 16
            ),
        ),
    ];
    let capabilities = if me.0 == 0 { &CAPABILITIES[..] } else { &[] };
    let ceiling = Ceiling::over(limits);
    let memory = number(ceiling.memory);
    let host = HostConfig {
        binds: Some(binds),
        tmpfs: Some(tmpfs.into()),
        shm_size: Some(number(limits.scratch)),
        network_mode: Some("none".to_owned()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities.iter().map(|&name| name.to_owned()).collect()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        pids_limit: Some(number(ceiling.processes)),
        cpu_quota: Some(number(ceiling.quota)),
        cpu_period: Some(number(ceiling.period)),
        memory: Some(memory),
        // As much as memory: none beside it.
        memory_swap: Some(memory),
        ..HostConfig::default()
    };
    let labels = [
        (OWNER.to_owned(), layout.data.display().to_string()),
        (PLACE.to_owned(), serde_json::to_string(place)?),
    ];
    Ok(ContainerCreateBody {
        image: Some(config.image.clone()),
        user: Some(format!("{}:{}", me.0, me.1)),
        env: Some(vec![format!("{BOOT_VARIABLE}={boot}")]),
        labels: Some(labels.into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}

fn bind(path: &Path, target: &str, access: &str) -> String {
    format!("{}:{target}:{access}", path.display())
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn boot(config: &Config, plan: &ContainerPlan) -> Boot {
    Boot {
        container: plan.container,
        generation: plan.generation,
        token: plan.token.clone(),
        egress: Egress::Unix(format!("{RUN}/{SOCKET}")),
        journal: JOURNAL.to_owned(),
        workspace: WORKSPACE.to_owned(),
        home: HOME.to_owned(),
        agents: AGENTS.to_owned(),
        orphan_seconds: config.orphan_seconds,
        heartbeat_seconds: HEARTBEAT_SECONDS,
        live_millis: LIVE_MILLIS,
        report_millis: 0,
        fresh: false,
        walls: Walls { mounts: None, uid: uid(plan), around: AROUND.into_iter().collect() },
        limits: config.limits.within(&plan.resources),
    }
}
