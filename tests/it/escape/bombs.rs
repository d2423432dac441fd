//! Agents that take all they can get. The run fails and says which limit it was; the agent's next run
//! works, and nobody else has noticed.

use serde_json::json;
use tests::reeve::Options;

use super::{Home, World, shell};

/// So much memory that as many processes as there may be do not take it: each bomb is to meet its own limit.
fn limited() -> Options {
    ["memory=384M", "processes=96", "files=256", "disk=48M", "inodes=3000", "scratch=24M"]
        .into_iter()
        .fold(Options::default(), |options, limit| options.arg("--limit").arg(limit))
}

/// Makes two tests of each bomb: its script, the code of its run, and a part of what is told.
macro_rules! bombs {
    ($($name:ident: $script:expr => $code:literal, $told:literal;)*) => {
        mod sandbox {
            $(#[tokio::test]
            async fn $name() {
                super::set_off(super::Home::Sandbox, $script, $code, $told).await;
            })*

            #[tokio::test]
            async fn processes_where_others_have_theirs() {
                super::crowd(super::Home::Sandbox).await;
            }

            #[tokio::test]
            async fn who_is_near_a_limit_goes_on() {
                super::stay_near(super::Home::Sandbox).await;
            }
        }
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::set_off(super::Home::Docker, $script, $code, $told).await;
            })*

            #[tokio::test]
            async fn processes_where_others_have_theirs() {
                super::crowd(super::Home::Docker).await;
            }

            #[tokio::test]
            async fn who_is_near_a_limit_goes_on() {
                super::stay_near(super::Home::Docker).await;
            }
        }
    };
}

async fn set_off(home: Home, script: &str, code: &str, words: &str) {
    let mut world = World::open(home, limited()).await;
    let other = world.client.conversation().await;
    assert_eq!(world.client.ask(&other, "!say before").await, "before");
    let run = world.client.prompt(&world.session, &shell(script)).await;
    assert_eq!(world.client.ask(&other, "!say meanwhile").await, "meanwhile");
    let ended = world.client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["code"]), (&"failed".into(), &code.into()), "{ended:#}");
    let told = ended["detail"].as_str().unwrap();
    assert!(told.contains(words), "{told}");
    let past = world.client.past(&world.session).await;
    let event = past.iter().find(|event| event["data"]["code"] == code);
    assert_eq!(event.unwrap()["runId"], run.as_str(), "an event names the limit");
    assert_eq!(world.client.ask(&world.session, "!say again").await, "again");
    assert_eq!(world.client.ask(&other, "!count").await, "3");
    world.reeve.stop().await;
}

/// Leaves so many processes behind that do nothing.
fn sleepers(number: u32) -> String {
    format!(
        "for n in {{1..{number}}}; do sleep 4321 </dev/null >/dev/null 2>&1 & echo $! >>sleepers; done
         echo started"
    )
}

/// How many of them live.
const SLEEPERS: &str = "for p in $(cat sleepers); do kill -0 $p 2>&- && echo lives; done | wc -l";

/// Starts one process after the other, while the agent is looked at some ten times.
const BUSY: &str = "for n in {1..20}; do timeout 0.1 sleep 1; done; echo done";

/// A bomb beside agents who keep within their limit and leave it less than its own: the kernel refuses it,
/// before anybody has passed a limit that is watched.
async fn crowd(home: Home) {
    let mut world = World::open(home, limited()).await;
    let client = world.client.clone();
    let container = client.made("/v1/containers", json!({ "capacity": 4 })).await;
    let install = format!("/v1/containers/{container}/agents");
    // By whatever there is less of: the container's processes, or those of a uid that all agents have.
    let own = rustix::process::geteuid().is_root();
    let quiet = if own { 2 } else { 1 };
    let mut sessions = Vec::new();
    for _ in 0..=quiet {
        let agent = client.agent().await;
        client.post(&install, json!({ "agentId": agent })).await.is(201);
        sessions.push(client.session(&agent).await);
    }
    let bomb = sessions.pop().unwrap();
    for session in &sessions {
        assert_eq!(client.ask(session, &shell(&sleepers(70))).await, "started\n");
        // Seen to get on well before the bomb goes off.
        assert_eq!(client.ask(session, &shell(BUSY)).await, "done\n");
    }
    let script = "perl -e 'for (;;) { my $p = fork; sleep 4321 if defined $p && !$p; \
                  select undef, undef, undef, 0.01 unless defined $p }'";
    let run = client.prompt(&bomb, &shell(script)).await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["code"], "process_limit", "{ended:#}");
    let told = ended["detail"].as_str().unwrap();
    assert!(told.contains("96 processes"), "{told}");
    let detail = client.get(&format!("/v1/containers/{container}")).await.is(200);
    let shares = !own || detail["walls"]["limits"]["processes"] == "kernel";
    assert_eq!(told.contains("goes on refusing it more"), shares, "{told}");
    let past = client.past(&bomb).await;
    assert!(past.iter().any(|event| event["data"]["code"] == "process_limit"), "an event names it");
    for session in &sessions {
        let left = client.ask(session, &shell(SLEEPERS)).await;
        assert_eq!(left, "70\n", "the others have theirs: {ended:#}");
    }
    assert_eq!(client.ask(&bomb, "!say again").await, "again");
    world.reeve.stop().await;
}

/// Nearly all that may be had, for longer than a bomb has: nobody refuses anything.
async fn stay_near(home: Home) {
    let mut world = World::open(home, limited()).await;
    assert_eq!(world.run(&sleepers(80)).await, "started\n");
    for _ in 0..3 {
        assert_eq!(world.run(BUSY).await, "done\n");
    }
    assert_eq!(world.run(SLEEPERS).await, "80\n");
    world.reeve.stop().await;
}

bombs! {
    memory: "perl -e '$all .= \"x\" x 1e6 while 1'" =>
        "memory_limit", "402653184 bytes of memory";
    shared_memory: "perl -e 'for (;;) { my $id = shmget(0, 60000, 01600) // last; \
        shmwrite($id, \"x\" x 60000, 0, 60000) }'; dd if=/dev/zero of=/dev/shm/all bs=1M; sleep 1000" =>
        "disk_limit", "/tmp and /dev/shm are full";
    processes: "perl -e 'for (;;) { fork; select undef, undef, undef, 0.001 }'" =>
        "process_limit", "96 processes";
    processes_that_leave: "perl -e 'use POSIX; for (;;) { if (!fork) { setsid; fork && exit; \
        $SIG{TERM} = \"IGNORE\"; sleep 1000 } select undef, undef, undef, 0.001 }'" =>
        "process_limit", "96 processes";
    processes_of_a_shell: ":(){ :|:& };: ; sleep 1000" =>
        "process_limit", "96 processes";
    processes_that_wait: "for n in {1..200}; do sleep 1000 & done; wait" =>
        "process_limit", "96 processes";
    open_files: "perl -e 'while (open my $file, \"<\", \"/dev/null\") { push @all, $file } sleep 1000'" =>
        "file_limit", "256 open files";
    disk: "for n in 1 2 3; do head -c 30M /dev/zero >/workspace/$n; done; sleep 1000" =>
        "disk_limit", "50331648 bytes of disk";
    one_big_file: "head -c 500M /dev/zero >/home/agent/big; sleep 1000" =>
        "disk_limit", "50331648 bytes of disk";
    many_files: "perl -e 'for (1 .. 5000) { open my $file, \">\", \"/workspace/$_\" } sleep 1000'" =>
        "disk_limit", "3000 files";
    a_full_tmp: "head -c 100M /dev/zero >/tmp/all; sleep 1000" =>
        "disk_limit", "/tmp and /dev/shm are full";
    many_files_in_tmp: "perl -e 'for (1 .. 100000) { open my $file, \">\", \"/tmp/$_\" or last } sleep 1000'" =>
        "disk_limit", "/tmp and /dev/shm are full";
}
