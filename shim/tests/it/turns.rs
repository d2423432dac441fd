//! Turns as they should be.

use domain::agent::Permissions;
use domain::plan::AgentPlan;
use serde_json::{Value, json};
use wire::shim::{Command, Down, Outcome, PromptCommand};

use crate::given::{agent_id, cancel, echo, prompt, prompt_to, run, session};
use crate::plane::{Plane, Setup, descendants};

#[tokio::test]
async fn an_echo_is_started_said_and_ended() {
    let mut plane = Plane::start().await;
    assert!(!plane.directory.path().join("boot").exists(), "the boot document is gone");
    plane.command(prompt(1, 1, "hello there, world")).await;
    let ended = plane.completed(1, 1).await;
    assert_eq!(ended.stop_reason.as_deref(), Some("end_turn"));
    assert_eq!(plane.said(1, 1), "hello there, world");
    let first = &plane.of(1)[0]["what"]["started"]["acp_session"];
    assert_eq!(first.as_str().map(str::len), Some(16), "{first}");
    let live: String =
        plane.live.iter().map(|live| live["data"]["text"].as_str().unwrap()).collect();
    assert_eq!(live, "hello there, world");
    assert_eq!(plane.live[0]["kind"], "agent_message_delta");
    let message = &plane.updates(1, 1, "agent_message_chunk")[0]["messageId"];
    assert_eq!(&plane.live[0]["data"]["messageId"], message);
}

#[tokio::test]
async fn text_is_coalesced_and_everything_else_stands_where_it_was_said() {
    let mut plane = Plane::start().await;
    let script = "!think hm\n!think m\n!say a\n!say b\n!tool look\n!plan\n!say c\n!usage 7 5";
    plane.command(prompt(1, 1, script)).await;
    let ended = plane.completed(1, 1).await;
    let usage = ended.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (7, 5));
    let told: Vec<_> = plane
        .of(1)
        .iter()
        .filter_map(|event| {
            let update = event["what"].get("update")?;
            let text = update["data"]["content"]["text"].as_str().unwrap_or_default();
            Some(format!("{} {text}", update["kind"].as_str().unwrap()))
        })
        .collect();
    assert_eq!(
        told,
        [
            "agent_thought_chunk hmm",
            "agent_message_chunk ab",
            "tool_call ",
            "tool_call_update ",
            "plan ",
            "agent_message_chunk c"
        ]
    );
}

#[tokio::test]
async fn long_text_and_long_data_arrive_in_frames_that_fit() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!chunks 50 4000\n!shell head -c 300000 /dev/zero")).await;
    plane.completed(1, 1).await;
    let said = plane.said(1, 1);
    assert_eq!(said.len(), 50 * 4000 + 300_000);
}

#[tokio::test]
async fn sessions_run_side_by_side_in_one_process() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!wait")).await;
    plane.started(1, 1).await;
    plane.command(prompt(2, 2, "!say two")).await;
    plane.completed(2, 2).await;
    assert_eq!(descendants(plane.pid()).len(), 1, "equal plans share a process");
    plane.command(cancel(1, 1)).await;
    assert_eq!(plane.ended(1, 1).await.outcome, Outcome::Cancelled);
    plane.command(prompt(1, 3, "!count")).await;
    plane.completed(1, 3).await;
    assert_eq!(plane.said(1, 3), "2");
}

#[tokio::test]
async fn a_command_is_carried_out_once_however_often_it_comes() {
    let mut plane = Plane::start().await;
    let hold = prompt(1, 1, "!wait");
    plane.send(&Down::Commands(vec![hold.clone(), hold.clone()])).await;
    plane.started(1, 1).await;
    plane.send(&Down::Commands(vec![hold.clone(), cancel(1, 1), cancel(1, 1), hold.clone()])).await;
    assert_eq!(plane.ended(1, 1).await.outcome, Outcome::Cancelled);
    // A cancel that comes before its prompt, then the prompt, then both again.
    let late = prompt(1, 2, "late");
    plane.send(&Down::Commands(vec![cancel(1, 2), late.clone(), cancel(1, 2), hold, late])).await;
    assert_eq!(plane.ended(1, 2).await.outcome, Outcome::Cancelled);
    plane.command(prompt(1, 3, "!count")).await;
    plane.completed(1, 3).await;
    assert_eq!(plane.said(1, 3), "2", "the agent saw two prompts in all");
    let ends = plane.of(1).iter().filter(|event| event["what"]["ended"].is_object()).count();
    assert_eq!(ends, 3);
}

#[tokio::test]
async fn permission_is_given_as_the_plan_says_and_recorded() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!permission")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "y");
    let record = plane.updates(1, 1, "permission_request")[0];
    assert_eq!(record["outcome"], json!({ "outcome": "selected", "optionId": "y" }));
    assert_eq!(record["toolCall"]["toolCallId"], "asks");
    assert_eq!(record["options"].as_array().unwrap().len(), 3);
    let strict = AgentPlan { permissions: Permissions::REJECT, ..echo() };
    plane.command(prompt_to(strict, 1, 2, "!permission")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "n");
}

#[tokio::test]
async fn another_plan_gets_another_process_and_the_conversation_goes_along() {
    for capabilities in ["all", "load"] {
        let mut plane = Plane::start().await;
        let plan = |word: &str| AgentPlan {
            env: [
                ("WORD".to_owned(), word.to_owned()),
                ("ECHO_CAPABILITIES".to_owned(), capabilities.to_owned()),
            ]
            .into(),
            ..echo()
        };
        plane.command(prompt_to(plan("one"), 1, 1, "!shell echo $WORD$LEAKED; pwd")).await;
        plane.completed(1, 1).await;
        let workspace = plane.directory.path().join("workspace");
        assert_eq!(plane.said(1, 1), format!("one\n{}\n", workspace.display()));
        plane.command(prompt_to(plan("two"), 1, 2, "!shell echo $WORD\n!count")).await;
        plane.completed(1, 2).await;
        assert_eq!(plane.said(1, 2), "two\n2", "{capabilities}");
        let replayed = plane
            .of(1)
            .iter()
            .any(|event: &Value| event["what"]["update"]["kind"] == "user_message_chunk");
        assert!(!replayed, "history is not told twice");
    }
}

#[tokio::test]
async fn a_conversation_outlives_its_container() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!count")).await;
    plane.completed(1, 1).await;
    let acp = plane.of(1)[0]["what"]["started"]["acp_session"].as_str().unwrap().to_owned();
    plane.command(Command::Stop).await;
    assert!(plane.exit().await.success());
    let Plane { directory, .. } = plane;
    let mut plane = Plane::with(Setup { directory: Some(directory), ..Setup::default() }).await;
    for (number, acp_session, count) in
        [(2, Some(acp), "2"), (3, Some("0123456789abcdef".to_owned()), "1")]
    {
        plane
            .command(Command::Prompt(Box::new(PromptCommand {
                session: session(number),
                run: run(number),
                prompt: "!count".to_owned(),
                schema: None,
                effort: None,
                agent_id: agent_id(),
                agent: echo(),
                working_dir: None,
                mcp_servers: Vec::new(),
                settings: domain::conversation::Settings::default(),
                acp_session,
                forked_from: None,
                fork: None,
                forks: Vec::new(),
            })))
            .await;
        plane.completed(number, number).await;
        assert_eq!(plane.said(number, number), count, "an unknown conversation begins anew");
        let lost = plane.updates(number, number, "conversation_lost");
        assert_eq!(lost.len(), usize::from(count == "1"), "and it is said that it does");
    }
}

#[tokio::test]
async fn what_a_later_version_says_passes_through() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!unknown\n!say on")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.updates(1, 1, "from_the_future"), [&json!({ "what": [1, 2, 3] })]);
    assert_eq!(plane.said(1, 1), "on");
}

#[tokio::test]
async fn an_agent_that_can_log_in_by_itself_is_asked_to_and_tells_what_it_offers() {
    let mut plane = Plane::start().await;
    let mut rich = echo();
    rich.env.insert("ECHO_CAPABILITIES".to_owned(), "rich".to_owned());
    plane.command(prompt_to(rich, 1, 1, "in")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "in");
    assert_eq!(plane.updates(1, 1, "current_mode_update")[0]["currentModeId"], "ask");
    let options = &plane.updates(1, 1, "config_option_update")[0]["configOptions"];
    assert_eq!((&options[0]["id"], &options[0]["currentValue"]), (&json!("effort"), &json!("low")));
}
