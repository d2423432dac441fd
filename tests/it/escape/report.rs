//! What is said of the walls is what there is: the report of a container beside what the kernel says,
//! asked inside by the agent and outside by the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::reeve::{Options, mentioning};

use super::{Home, World};

/// What the agent sees of its own walls.
const LOOK: &str = "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status | tr -d '\\t'
    for n in mnt net ipc pid user; do readlink /proc/self/ns/$n; done; id -u; ls -d /proc/1 | wc -l";

fn names(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// A namespace of this test.
fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string()
}

async fn look(home: Home) {
    let mut world = World::open(home, Options::default().arg("--limit").arg("memory=256M")).await;
    let seen = world.run(LOOK).await;
    let container = world.agent.replace("agt_", "ctr_");
    let shown = world.client.get(&format!("/v1/containers/{container}")).await.is(200);
    let around = names(&shown["walls"]["standing"]);
    let own_walls = names(&shown["agents"][0]["walls"]);
    let either = |wall: &str| around.contains(wall) || own_walls.contains(wall);

    // What every agent has, everywhere.
    for (wall, line) in [
        ("seccomp", "Seccomp:2\n"),
        ("no_new_privileges", "NoNewPrivs:1\n"),
        ("no_capabilities", "CapEff:0000000000000000\n"),
    ] {
        assert!(own_walls.contains(wall) && seen.contains(line), "{wall}: {own_walls:?} {seen}");
    }
    for (wall, name) in [
        ("mount_namespace", "mnt"),
        ("network_namespace", "net"),
        ("ipc_namespace", "ipc"),
        ("pid_namespace", "pid"),
        ("user_namespace", "user"),
    ] {
        assert_eq!(either(wall), !seen.contains(&own(name)), "{wall}: {shown:#} {seen}");
    }
    // An agent in a sandbox has a room beside; one in a container of an engine shares the container's.
    for wall in ["mount_namespace", "network_namespace", "ipc_namespace", "pid_namespace"] {
        assert!(around.contains(wall));
        assert_eq!(own_walls.contains(wall), home.is_sandbox(), "{wall}: {own_walls:?}");
    }
    // A second agent has another uid exactly where it is said that each has its own.
    let other = world.client.conversation().await;
    let theirs = world.client.ask(&other, "!shell id -u").await;
    let distinct = !seen.contains(&format!("\n{}\n", theirs.trim()));
    assert_eq!(own_walls.contains("own_uid"), distinct, "{own_walls:?} {seen} {theirs}");

    limits(&world, &shown["walls"], &around, &container);
    world.reeve.stop().await;
    if home.is_sandbox() {
        assert_eq!(left(&container), Vec::<String>::new(), "no control group is left");
    }
}

/// Whether the kernel keeps exactly the limits that it is said to keep.
fn limits(world: &World, walls: &Value, around: &BTreeSet<String>, container: &str) {
    let kept = |limit: &str| walls["limits"][limit] == "kernel";
    for (wall, limit) in
        [("memory_cgroup", "memory"), ("pids_cgroup", "processes"), ("cpu_cgroup", "cpu")]
    {
        assert_eq!(around.contains(wall), kept(limit), "{walls:#}");
    }
    assert!(kept("files") && walls["limits"]["disk"] == "watch", "{walls:#}");
    // What an agent may take, and its shim, and what is taken between two looks.
    let memory = (256_u64 + 512 + 64 + 512) << 20;
    let expected = [
        ("memory", "memory.limit_in_bytes", "memory.max", memory.to_string()),
        ("processes", "pids.max", "pids.max", (1024 + 128).to_string()),
        ("cpu", "cpu.cfs_quota_us", "cpu.max", "400000".to_owned()),
    ];
    if world.home == Home::Docker {
        let format = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpuQuota}}";
        let name = format!("reeve-{container}");
        let told = Command::new("docker").args(["inspect", "--format", format, &name]).output();
        let told = String::from_utf8(told.unwrap().stdout).unwrap();
        assert_eq!(told.trim(), expected.map(|(_, _, _, value)| value).join(" "));
        assert!(kept("memory") && kept("processes") && kept("cpu"), "{walls:#}");
        return;
    }
    for (limit, one, two, value) in expected {
        let found = groups(world.reeve.data(), container).into_iter().find_map(|group| {
            let read = |file: &str| fs::read_to_string(Path::new(&group).join(file)).ok();
            read(two).or_else(|| read(one))
        });
        let found = found.map(|text| text.split_whitespace().next().unwrap().to_owned());
        assert_eq!(found.is_some(), kept(limit), "{limit}: {walls:#}");
        assert!(found.is_none_or(|found| found == value), "{limit}");
    }
    // Root may make groups wherever control groups can be written at all.
    let writable = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|mount| {
        let (before, after) = mount.split_once(" - ").unwrap();
        let pids = after.starts_with("cgroup ") && after.ends_with("pids");
        pids && before.split(' ').nth(5).unwrap().starts_with("rw")
    });
    if writable {
        assert_eq!(kept("processes"), rustix::process::geteuid().is_root(), "{walls:#}");
    }
}

/// The control groups, made for `container`, in which something of the reeve of `data` is.
fn groups(data: &Path, container: &str) -> BTreeSet<String> {
    let mine = mentioning(data).into_iter().filter_map(|pid| {
        fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()
    });
    let names: BTreeSet<String> = mine
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned()))
        .filter(|path| path.contains(container))
        .collect();
    let found = left(container);
    assert_eq!(found.is_empty(), names.is_empty(), "who is made a group for is in it: {names:?}");
    found.into_iter().collect()
}

/// Every control group on this machine that bears the name of `container`.
fn left(container: &str) -> Vec<String> {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{container}*")])
        .output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

mod sandbox {
    use std::fs;

    use tests::reeve::Options;

    use super::{Home, World, left, look};

    #[tokio::test]
    async fn is_what_the_kernel_says() {
        look(Home::Sandbox).await;
    }

    /// Also by who has not made it.
    #[tokio::test]
    async fn a_group_is_found_again_and_removed() {
        let mut world = World::open(Home::Sandbox, Options::default()).await;
        assert_eq!(world.run("echo here").await, "here\n");
        let container = world.agent.replace("agt_", "ctr_");
        let before = left(&container);
        world.reeve.kill9();
        assert_eq!(left(&container), before, "it goes on without reeve");
        world.reeve.restart(Options::default()).await;
        let groups = left(&container);
        assert_eq!(groups, before);
        let populated = |group: &String| {
            fs::read_to_string(format!("{group}/cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
        };
        assert!(groups.iter().all(populated), "the next one has taken it over");
        world.reeve.stop().await;
        assert_eq!(left(&container), Vec::<String>::new());
    }
}

mod docker {
    use super::{Home, look};

    #[tokio::test]
    async fn is_what_the_kernel_says() {
        look(Home::Docker).await;
    }
}
