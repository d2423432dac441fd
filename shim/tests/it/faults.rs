//! Agents as they should not be.

use domain::plan::AgentPlan;
use wire::shim::{Outcome, failure};

use crate::given::{cancel, echo, prompt, prompt_to, with_timeout};
use crate::plane::{Plane, Setup, descendants};

fn impatient() -> Setup {
    Setup {
        arguments: vec!["--start-timeout-ms", "300", "--cancel-timeout-ms", "300"],
        ..Setup::default()
    }
}

fn running(command: &[&str]) -> AgentPlan {
    AgentPlan { command: command.iter().map(|part| (*part).to_owned()).collect(), ..echo() }
}

#[tokio::test]
async fn an_agent_that_ignores_a_cancel_is_ended_with_all_it_started() {
    let mut plane = Plane::with(impatient()).await;
    plane.command(prompt(1, 1, "!ignoreterm\n!fork\n!say up\n!ignorecancel")).await;
    plane.command(prompt(2, 2, "!wait")).await;
    plane.started(2, 2).await;
    plane.until(1, |event| event["what"]["update"]["kind"] == "agent_message_chunk").await;
    assert!(descendants(plane.pid()).len() >= 3, "{:?}", descendants(plane.pid()));
    plane.command(cancel(1, 1)).await;
    assert_eq!(plane.ended(1, 1).await.outcome, Outcome::Cancelled);
    assert_eq!(plane.failed(2, 2).await, failure::AGENT_EXITED);
    assert_eq!(descendants(plane.pid()), [], "nothing is left, no zombie either");
    plane.command(prompt(2, 3, "!say again")).await;
    plane.completed(2, 3).await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails() {
    let mut plane = Plane::with(impatient()).await;
    plane.command(prompt_to(with_timeout(1), 1, 1, "!silence")).await;
    assert_eq!(plane.failed(1, 1).await, failure::TIMEOUT);
    plane.command(prompt_to(with_timeout(1), 1, 2, "!wrongid\n!ignorecancel")).await;
    assert_eq!(plane.failed(1, 2).await, failure::TIMEOUT);
    plane.command(prompt_to(with_timeout(1), 1, 3, "!count")).await;
    plane.completed(1, 3).await;
    assert_eq!(plane.said(1, 3), "3");
}

#[tokio::test]
async fn an_agent_that_ends_in_its_turn_fails_it_and_the_next_prompt_starts_another() {
    let mut plane = Plane::start().await;
    for (run, script, told) in [
        (1, "!kill9", "signal: 9"),
        (2, "!say bye\n!exit 3", "exit status: 3"),
        (3, "!halfline\n!exit 4", "exit status: 4"),
    ] {
        plane.command(prompt(1, run, script)).await;
        let ended = plane.ended(1, run).await;
        assert_eq!(ended.code.as_deref(), Some(failure::AGENT_EXITED));
        assert!(ended.detail.as_deref().unwrap().contains(told), "{ended:?}");
    }
    assert_eq!(plane.said(1, 2), "bye");
    plane.command(prompt(1, 4, "!count")).await;
    plane.completed(1, 4).await;
    assert_eq!(plane.said(1, 4), "4");
}

#[tokio::test]
async fn noise_is_noticed_once_and_too_much_of_it_ends_the_run() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!garbage 3\n!wrongid\n!say on")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "on");
    assert_eq!(plane.updates(1, 1, "notice").len(), 1);
    plane.command(prompt(1, 2, "!halfline\n!raw {}\n!say heard")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "heard");
    plane.command(prompt(1, 3, "!garbage 2000\n!wait")).await;
    assert_eq!(plane.failed(1, 3).await, failure::AGENT_PROTOCOL);
    plane.command(prompt(1, 4, "!longline 9000000\n!wait")).await;
    assert_eq!(plane.failed(1, 4).await, failure::AGENT_PROTOCOL);
}

#[tokio::test]
async fn an_agent_says_why_it_will_not() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!error -32603 no luck today")).await;
    let ended = plane.ended(1, 1).await;
    assert_eq!(ended.code.as_deref(), Some(failure::AGENT_ERROR));
    assert_eq!(ended.detail.as_deref(), Some("no luck today"));
    plane.command(prompt(1, 2, "!error -32000 log in first")).await;
    assert_eq!(plane.failed(1, 2).await, failure::AUTH_REQUIRED);
    plane.command(prompt(1, 3, "!refuse")).await;
    assert_eq!(plane.completed(1, 3).await.stop_reason.as_deref(), Some("refusal"));
}

#[tokio::test]
async fn an_agent_that_does_not_start_says_so() {
    let mut plane = Plane::with(impatient()).await;
    plane.command(prompt_to(running(&["/no/such/program"]), 1, 1, "x")).await;
    assert_eq!(plane.failed(1, 1).await, failure::AGENT_UNAVAILABLE);
    plane.command(prompt_to(running(&["sleep", "1000"]), 1, 2, "x")).await;
    assert_eq!(plane.failed(1, 2).await, failure::AGENT_SILENT);
    plane.command(prompt_to(running(&["sh", "-c", "echo why >&2; exit 7"]), 1, 3, "x")).await;
    let ended = plane.ended(1, 3).await;
    assert_eq!(ended.code.as_deref(), Some(failure::AGENT_EXITED));
    let detail = ended.detail.unwrap();
    assert!(detail.contains("exit status: 7") && detail.contains("why"), "{detail}");
    let answer = |answer: &str| format!("read line; echo '{answer}'; exec sleep 1000");
    let old = answer(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":0}}"#);
    plane.command(prompt_to(running(&["sh", "-c", &old]), 1, 4, "x")).await;
    assert_eq!(plane.failed(1, 4).await, failure::AGENT_PROTOCOL);
}
