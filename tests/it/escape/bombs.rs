//! Agents that take all they can get. The run fails and says which limit it was; the agent's next run
//! works, and nobody else has noticed.

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
        }
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::set_off(super::Home::Docker, $script, $code, $told).await;
            })*
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
