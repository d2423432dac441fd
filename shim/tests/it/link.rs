//! The connection: lost, refused, flooded, never made.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;
use wire::shim::{Command, Down};

use crate::given::{prompt, session};
use crate::plane::{PATIENCE, Plane, Setup, descendants};

#[tokio::test]
async fn nothing_is_lost_doubled_or_reordered_when_the_connection_breaks() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!rate 2000 2000\n!say done")).await;
    for round in 0..5 {
        // An acknowledgement that is lost: taken in, but never said so.
        plane.acking = false;
        plane.step().await;
        plane.acking = true;
        if round % 2 == 0 {
            plane.socket = None;
        } else {
            drop(plane.socket.as_mut().unwrap().close(None).await);
        }
        plane.accept().await;
        // The same command again, as after every connect.
        plane.command(prompt(1, 1, "!rate 2000 2000\n!say done")).await;
        for _ in 0..3 {
            plane.step().await;
        }
    }
    plane.completed(1, 1).await;
    let calls = plane.updates(1, 1, "tool_call");
    assert_eq!(calls.len(), 2000);
    for (number, call) in calls.iter().enumerate() {
        assert_eq!(call["toolCallId"], format!("call-{number}"));
    }
}

#[tokio::test]
async fn a_flood_is_held_back_and_memory_stays_small() {
    let mut plane = Plane::start().await;
    plane.acking = false;
    plane.command(prompt(1, 1, "!events 100000")).await;
    plane.until(1, |event| event["what"]["update"].is_object()).await;
    // Nobody acknowledges: the journal fills, then the agent stands still in its pipe.
    let journal = plane.directory.path().join(format!("journal/{}.jsonl", session(1)));
    let full = async {
        let mut beats = tokio::time::interval(Duration::from_millis(10));
        while std::fs::metadata(&journal).map_or(0, |file| file.len()) < 4 * 1024 * 1024 {
            beats.tick().await;
        }
    };
    timeout(Duration::from_secs(30), full).await.expect("the journal fills");
    plane.acking = true;
    plane.socket = None;
    plane.accept().await;
    plane.completed(1, 1).await;
    assert_eq!(plane.updates(1, 1, "tool_call").len(), 100_000);
    let (now, most) = plane.memory();
    // This is a debug build: the release build is measured apart.
    assert!(most < 24 * 1024, "{now} KiB now, {most} KiB at most");
    assert!(!journal.exists(), "what is acknowledged leaves the disk");
}

/// A managed connection on which nobody speaks for ten minutes is ended, and a ping goes no further than
/// egress: that somebody is there has to be said.
#[tokio::test]
async fn a_shim_with_nothing_to_say_says_that() {
    let mut plane = Plane::start().await;
    assert_eq!(plane.frame().await.expect("the connection holds"), "heartbeat");
}

#[tokio::test]
async fn a_refused_shim_ends_everything() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!fork\n!say up\n!wait")).await;
    plane.until(1, |event| event["what"]["update"].is_object()).await;
    let agents = descendants(plane.pid());
    assert!(agents.len() >= 2);
    plane.send(&Down::Refused { code: "stale_generation".to_owned() }).await;
    assert_eq!(plane.exit().await.code(), Some(2));
    for (pid, _) in agents {
        is_over(pid).await;
    }
}

/// A process does not go on, and nothing of it is left once whoever took it in has looked.
async fn is_over(pid: i32) {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        assert!(state.starts_with(['Z', 'X']), "{stat}");
    }
    let looked = async {
        while std::fs::exists(format!("/proc/{pid}")).unwrap() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looked).await.expect("somebody waits for it");
}

#[tokio::test]
async fn a_shim_that_is_not_let_in_exits() {
    for status in [401, 403, 404] {
        let mut plane = Plane::unconnected(Setup { status, ..Setup::default() });
        assert_eq!(plane.exit().await.code(), Some(2), "{status}");
    }
}

#[tokio::test]
async fn an_orphan_ends_everything() {
    let mut plane =
        Plane::unconnected(Setup { status: 503, orphan_seconds: 1, ..Setup::default() });
    assert_eq!(plane.exit().await.code(), Some(3));
}

#[tokio::test]
async fn stop_and_term_end_the_agents_and_exit_well() {
    for by_signal in [false, true] {
        let mut plane = Plane::start().await;
        plane.command(prompt(1, 1, "!ignoreterm\n!say up\n!wait")).await;
        plane.until(1, |event| event["what"]["update"].is_object()).await;
        let agents = descendants(plane.pid());
        if by_signal {
            kill_process(Pid::from_raw(plane.pid()).unwrap(), Signal::TERM).unwrap();
        } else {
            plane.command(Command::Stop).await;
        }
        assert_eq!(plane.exit().await.code(), Some(0));
        for (pid, _) in agents {
            is_over(pid).await;
        }
    }
}

#[tokio::test]
async fn a_boot_document_that_cannot_be_read_is_no_panic() {
    for text in ["", "{", "[]", r#"{"container":"x"}"#] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot");
        std::fs::write(&path, text).unwrap();
        let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_shim"))
            .arg("--boot")
            .arg(&path)
            .output()
            .await
            .unwrap();
        assert_eq!(done.status.code(), Some(1));
        assert!(!path.exists());
    }
}
