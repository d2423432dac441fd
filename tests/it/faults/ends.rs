//! Reeve is stopped: in the middle of a run, of a container's start, of its own start; and nobody
//! else may take its place while it lives.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::given::at_last;
use tests::reeve::{Options, Reeve, binary, mentioning};
use tokio::time::{Instant, timeout};

use super::sound;

/// Asks it to stop: it must do so well, soon, and leave nothing running.
async fn stop(reeve: &mut Reeve) {
    let since = Instant::now();
    reeve.terminate();
    let status = reeve.ended().await;
    assert!(status.success(), "{status:?}: {}", reeve.log());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let data = reeve.data().to_owned();
    // A process that was killed may still be on its way out.
    at_last("nothing is left running", async || mentioning(&data).is_empty()).await;
}

#[tokio::test]
async fn a_stop_interrupts_what_runs_and_keeps_what_waits() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = client.session(&agent).await;
        let waits = client.prompt(&session, "!wait").await;
        let next = client.prompt(&session, "!say next").await;
        client.reaches(&waits, "streaming").await;
        sessions.push((session, waits, next));
    }
    stop(&mut reeve).await;
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    for (session, waits, next) in sessions {
        let failed = client.ended(&waits).await;
        assert_eq!(
            (&failed["state"], &failed["code"]),
            (&"failed".into(), &"interrupted".into()),
            "{failed:#}"
        );
        assert_eq!(client.ended(&next).await["state"], "completed");
        assert_eq!(client.said(&session, &next).await, "next");
        sound(&client, &session).await;
    }
    reeve.stop().await;
}

#[tokio::test]
async fn a_stop_while_a_container_starts_leaves_nothing_and_loses_nothing() {
    let mut reeve = Reeve::start(Options::default()).await;
    let session = reeve.client().conversation().await;
    for moment in [0, 3, 10, 20, 40, 70] {
        let run = reeve.client().prompt(&session, "!say hello").await;
        pass(Duration::from_millis(moment)).await;
        stop(&mut reeve).await;
        reeve.restart(Options::default()).await;
        let client = reeve.client();
        let ended = client.ended(&run).await;
        let interrupted = ended["state"] == "failed" && ended["code"] == "interrupted";
        assert!(interrupted || ended["state"] == "completed", "after {moment} ms: {ended:#}");
        sound(&client, &session).await;
    }
    reeve.stop().await;
}

#[tokio::test]
async fn a_stop_or_a_kill_during_the_start_spoils_nothing() {
    let mut reeve = Reeve::new();
    for signal in [Signal::TERM, Signal::KILL] {
        for moment in [0, 2, 5, 10, 20, 40, 80, 160] {
            let mut child = Command::new(binary())
                .args(["up", "--listen", "127.0.0.1:0", "--json", "--data"])
                .arg(reeve.data())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            pass(Duration::from_millis(moment)).await;
            kill_process(Pid::from_child(&child), signal).unwrap();
            let since = Instant::now();
            let status = child.wait().unwrap();
            assert!(since.elapsed() < Duration::from_secs(5), "{status:?}");
            // Before it listens to signals, it ends by them.
            let by = status.signal();
            assert!(status.success() || by == Some(signal.as_raw()), "{moment} ms: {status:?}");
        }
    }
    reeve.restart(Options::default()).await;
    let session = reeve.client().conversation().await;
    assert_eq!(reeve.client().ask(&session, "!say hello").await, "hello");
    reeve.stop().await;
}

#[tokio::test]
async fn nobody_else_takes_a_directory_that_is_in_use() {
    let mut reeve = Reeve::start(Options::default()).await;
    let session = reeve.client().conversation().await;
    let second = Command::new(binary())
        .args(["up", "--listen", "127.0.0.1:0", "--json", "--data"])
        .arg(reeve.data())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.stdout.is_empty());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(reeve.data().to_str().unwrap()), "it says which: {said}");
    assert_eq!(reeve.client().ask(&session, "!say hello").await, "hello");
    reeve.stop().await;
}

/// The moment itself is what is tried: there is no event to wait for.
async fn pass(time: Duration) {
    assert!(timeout(time, std::future::pending::<()>()).await.is_err());
}
