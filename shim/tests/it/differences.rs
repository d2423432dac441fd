//! What agents of other makers do in ways of their own, and what becomes of it all the same.

use domain::agent::Permissions;
use domain::plan::AgentPlan;
use serde_json::json;

use crate::given::{echo, prompt, prompt_to};
use crate::plane::Plane;

fn with(name: &str, value: &str) -> AgentPlan {
    AgentPlan { env: [(name.to_owned(), value.to_owned())].into(), ..echo() }
}

#[tokio::test]
async fn a_conversation_that_the_agent_forgot_is_opened_again_for_the_same_prompt() {
    // Agents say it with one code or another, and can open again what they knew, or cannot.
    for (code, capabilities, count) in
        [("-32002", "all", "2"), ("-32602", "load", "2"), ("-32602", "none", "1")]
    {
        let mut plane = Plane::start().await;
        let agent = with("ECHO_CAPABILITIES", capabilities);
        plane.command(prompt_to(agent.clone(), 1, 1, &format!("!forget {code}"))).await;
        plane.completed(1, 1).await;
        plane.command(prompt_to(agent, 1, 2, "!count")).await;
        plane.completed(1, 2).await;
        assert_eq!(plane.said(1, 2), count, "{code} {capabilities}");
        let lost = plane.updates(1, 2, "conversation_lost").len();
        assert_eq!(lost, usize::from(count == "1"), "{code} {capabilities}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_no_conversation_at_all_fails_the_run() {
    let mut plane = Plane::start().await;
    let scripts = json!({ "session/new answered": "!forget -32602" }).to_string();
    let mut agent = with("ECHO_SCRIPTS", &scripts);
    agent.env.insert("ECHO_CAPABILITIES".to_owned(), "none".to_owned());
    plane.command(prompt_to(agent, 1, 1, "hello")).await;
    let ended = plane.ended(1, 1).await;
    assert_eq!(ended.code.as_deref(), Some("agent_error"), "{ended:?}");
    plane.command(prompt(1, 2, "hello")).await;
    plane.completed(1, 2).await;
}

#[tokio::test]
async fn a_history_that_is_told_behind_the_answer_is_not_told_again() {
    let mut plane = Plane::start().await;
    let late = "!say of old\n!think long ago\n!tool was\n!used 7";
    let scripts = json!({ "session/load answered": late }).to_string();
    let mut agent = with("ECHO_SCRIPTS", &scripts);
    agent.env.insert("ECHO_CAPABILITIES".to_owned(), "load".to_owned());
    plane.command(prompt_to(agent.clone(), 1, 1, "!forget -32002")).await;
    plane.completed(1, 1).await;
    plane.command(prompt_to(agent, 1, 2, "!say new")).await;
    let ended = plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "new");
    assert_eq!(plane.updates(1, 2, "tool_call"), [&json!(null); 0]);
    assert_eq!(plane.updates(1, 2, "agent_thought_chunk"), [&json!(null); 0]);
    assert_eq!(ended.usage, None, "what was used before is not of this run");
}

#[tokio::test]
async fn an_agent_is_logged_in_wherever_it_asks_for_it() {
    let mut plane = Plane::start().await;
    let rich = with("ECHO_CAPABILITIES", "rich");
    plane.command(prompt_to(rich.clone(), 1, 1, "!count")).await;
    plane.completed(1, 1).await;
    // Another process, which nobody has logged in, has to take the conversation up.
    let other = AgentPlan { permissions: Permissions::REJECT, ..rich };
    plane.command(prompt_to(other, 1, 2, "!count")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "2");
    assert_eq!(plane.updates(1, 2, "conversation_lost").len(), 0);
}

#[tokio::test]
async fn an_agent_is_logged_in_at_once_in_the_way_that_was_chosen() {
    let mut plane = Plane::start().await;
    let rich = |method: &str| AgentPlan {
        auth_method: Some(method.to_owned()),
        ..with("ECHO_CAPABILITIES", "rich")
    };
    plane.command(prompt_to(rich("nobody"), 1, 1, "hello")).await;
    assert_eq!(plane.failed(1, 1).await, "auth_required");
    plane.command(prompt_to(rich("echo-api-key"), 1, 2, "hello")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "hello");
}

#[tokio::test]
async fn tokens_are_counted_wherever_they_are_said() {
    let mut plane = Plane::start().await;
    for (number, script, expected) in [
        (1, "!used 40\n!usage 7 5", (7, 5)),
        (2, "!used 40\n!quota 3 2", (3, 2)),
        (3, "!used 40\n!metered 3 2\n!metered 4 1", (7, 3)),
        (4, "!used 40", (40, 0)),
    ] {
        plane.command(prompt(number, number, script)).await;
        let usage = plane.completed(number, number).await.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), expected, "{script}");
    }
}

#[tokio::test]
async fn what_is_told_between_runs_is_kept_and_disturbs_none() {
    let mut plane = Plane::start().await;
    let status = json!({ "jsonrpc": "2.0", "method": "_auth/status_update", "params": {} });
    let late = format!("!raw {status}\n!garbage 3\n!used 9");
    let scripts = json!({ "session/prompt answered": late });
    let agent = with("ECHO_SCRIPTS", &scripts.to_string());
    for run in 1..4 {
        plane.command(prompt_to(agent.clone(), 1, run, "!say on")).await;
        plane.completed(1, run).await;
        assert_eq!(plane.said(1, run), "on");
    }
    let told = plane.of(1).iter().filter(|event| event["what"]["update"]["kind"] == "usage_update");
    assert!(told.count() >= 2, "those behind the first two were heard before the last was over");
}
