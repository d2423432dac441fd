//! What agents of other makers do in ways of their own, and what becomes of it all the same.

use domain::agent::Permissions;
use domain::plan::AgentPlan;
use serde_json::json;

use crate::given::{cancel, echo, prompt, prompt_to};
use crate::plane::{Plane, Setup};

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
async fn a_history_that_is_told_though_nobody_asked_for_it_is_not_told_again() {
    let mut plane = Plane::start().await;
    let scripts = json!({ "session/resume": "!hear long ago\n!say of old\n!tool was" }).to_string();
    let agent = with("ECHO_SCRIPTS", &scripts);
    plane.command(prompt_to(agent.clone(), 1, 1, "!forget -32002")).await;
    plane.completed(1, 1).await;
    plane.command(prompt_to(agent, 1, 2, "!say new")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "new");
    for kind in ["user_message_chunk", "tool_call", "conversation_lost"] {
        assert_eq!(plane.updates(1, 2, kind), [&json!(null); 0], "{kind}");
    }
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

#[tokio::test]
async fn a_message_is_heard_behind_what_is_none() {
    let mut plane = Plane::start().await;
    let scripts = json!({ "initialize": "!halfline", "session/new": "!halfline" }).to_string();
    plane.command(prompt_to(with("ECHO_SCRIPTS", &scripts), 1, 1, "!halfline\n!say well")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "well");
}

#[tokio::test]
async fn what_is_told_in_a_request_is_heard_and_answered() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!insist I say.\n!say Done.")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "I say.Done.");
}

#[tokio::test]
async fn a_failure_of_any_form_ends_the_run_and_says_why() {
    let mut plane = Plane::start().await;
    for (number, error, detail) in [
        (1, r#"{"code":"ECONNRESET","message":null}"#, "error 0"),
        (2, r#""it broke""#, "it broke"),
        (
            3,
            r#"{"message":"Internal error","data":{"details":"no model"}}"#,
            "Internal error: no model",
        ),
    ] {
        let answer = format!(r#"!raw {{"jsonrpc":"2.0","id":2,"error":{error}}}"#);
        // Each in a process of its own, whose third request is the prompt.
        let agent = with("NUMBER", &number.to_string());
        plane.command(prompt_to(agent, number, number, &format!("{answer}\n!ignorecancel"))).await;
        let ended = plane.ended(number, number).await;
        assert_eq!(ended.code.as_deref(), Some("agent_error"), "{error}: {ended:?}");
        assert_eq!(ended.detail.as_deref(), Some(detail), "{error}");
    }
}

#[tokio::test]
async fn an_agent_that_ends_says_why_wherever_it_said_it() {
    for (moment, script) in [
        ("start", "!raw this program is no longer maintained\n!exit 0"),
        ("start", "!raw this program is no longer maintained\n!exit 3"),
        ("session/new", "!raw this program is no longer maintained\n!exit 0"),
    ] {
        let mut plane = Plane::start().await;
        let scripts = json!({ moment: script }).to_string();
        plane.command(prompt_to(with("ECHO_SCRIPTS", &scripts), 1, 1, "hello")).await;
        let ended = plane.ended(1, 1).await;
        assert_eq!(ended.code.as_deref(), Some("agent_exited"), "{script}: {ended:?}");
        let detail = ended.detail.unwrap();
        assert!(detail.contains("no longer maintained"), "{script}: {detail}");
    }
}

#[tokio::test]
async fn an_agent_that_does_not_get_as_far_as_a_conversation_says_what_it_last_said() {
    let said = "!mutter 300\n!raw \u{1b}[31mcannot reach the licence server\u{7}";
    for (moment, script, code, why) in [
        ("start", "!ignorecancel", "agent_silent", "no answer to initialize"),
        ("initialize", "!ignorecancel", "agent_silent", "no answer to initialize"),
        ("session/new", "!ignorecancel", "agent_silent", "no answer to session/new"),
        ("start", "!garbage 2000\n!ignorecancel", "agent_protocol", "no messages"),
        ("session/new", "!longline 9000000\n!ignorecancel", "agent_protocol", "8 MiB"),
        ("initialize", r#"!raw {"jsonrpc":"2.0","id":0,"result":{}}"#, "agent_protocol", "version"),
        ("start", "!exit 3", "agent_exited", "exit status: 3"),
    ] {
        let case = format!("{moment}: {script}");
        let silent = code == "agent_silent";
        let arguments = if silent { vec!["--start-timeout-ms", "2000"] } else { vec![] };
        let mut plane = Plane::with(Setup { arguments, ..Setup::default() }).await;
        let scripts = json!({ moment: format!("{said}\n{script}") }).to_string();
        plane.command(prompt_to(with("ECHO_SCRIPTS", &scripts), 1, 1, "hello")).await;
        let ended = plane.ended(1, 1).await;
        assert_eq!(ended.code.as_deref(), Some(code), "{case}: {ended:?}");
        let detail = ended.detail.unwrap();
        assert!(detail.contains(why), "{case}: {detail}");
        let garbage = script.starts_with("!garbage");
        assert!(garbage || detail.contains("cannot reach the licence server"), "{case}: {detail}");
        let last = if garbage { "garbage 99" } else { "mmmm" };
        assert!(detail.contains(last), "{case}: {detail}");
        let clean = detail.len() <= 1000 && !detail.chars().any(char::is_control);
        assert!(clean, "{case}: {detail:?}");
    }
}

#[tokio::test]
async fn an_agent_that_goes_in_peace_is_started_again_for_the_prompt_that_it_missed() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!count")).await;
    plane.completed(1, 1).await;
    plane.command(prompt(1, 2, "!exit 0 2\n!count")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "3", "it was told twice, and went the first time");
    assert_eq!(plane.updates(1, 2, "conversation_lost").len(), 0);
    // One that has said something, or that something was wrong with, is not told again.
    for (number, script) in [(3, "!say no\n!exit 0"), (5, "!exit 1"), (7, "!kill9")] {
        plane.command(prompt(1, number, "!count")).await;
        plane.completed(1, number).await;
        plane.command(prompt(1, number + 1, script)).await;
        assert_eq!(plane.failed(1, number + 1).await, "agent_exited", "{script}");
    }
    // Nor is one told for ever.
    plane.command(prompt(1, 9, "!count")).await;
    plane.completed(1, 9).await;
    plane.command(prompt(1, 10, "!exit 0")).await;
    assert_eq!(plane.failed(1, 10).await, "agent_exited");
}

#[tokio::test]
async fn a_prompt_that_the_agent_tells_back_is_not_told_again() {
    let mut plane = Plane::start().await;
    for (number, script) in [(1, "!repeat\n!say on"), (2, "!repeat 5\n!say on")] {
        plane.command(prompt(1, number, script)).await;
        plane.completed(1, number).await;
        assert_eq!(plane.said(1, number), "on", "{script}");
        assert_eq!(plane.updates(1, number, "user_message_chunk"), [&json!(null); 0], "{script}");
    }
    plane.command(prompt(1, 4, "!hear !hear\n!hear Something else.\n!say on")).await;
    plane.completed(1, 4).await;
    let told = plane.updates(1, 4, "user_message_chunk");
    assert_eq!(told.len(), 1, "what is no repetition is told: {told:?}");
    assert_eq!(told[0]["content"]["text"], "Something else.");
}

#[tokio::test]
async fn who_is_asked_for_permission_is_told_what_was_told_of_the_call_before() {
    let mut plane = Plane::start().await;
    let called = json!({ "toolCallId": "asks", "title": "may I?", "kind": "edit" });
    plane.command(prompt(1, 1, "!permission edit told")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.updates(1, 1, "permission_request")[0]["toolCall"], called);
    let asks = AgentPlan { permissions: Permissions::ASK, ..echo() };
    plane.command(prompt_to(asks, 2, 2, "!permission edit told")).await;
    plane.until(2, |event| event["what"]["asked"]["toolCall"] == called).await;
    plane.command(cancel(2, 2)).await;
    plane.ended(2, 2).await;
}
