//! The drivers `process` and `http`, and answers by a schema whatever the driver.

use std::time::Duration;

use domain::agent::{Driver, Effort, RunLimits};
use domain::plan::AgentPlan;
use serde_json::{Value, json};
use wire::shim::{Command, FORWARD, Outcome, failure};

use crate::given::{cancel, echo, prompt_to, run, session};
use crate::model::{SHAPES, Say, Shape, model};
use crate::plane::{Model, Plane, Setup, descendants};

fn script(text: &str) -> AgentPlan {
    let command = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
    AgentPlan { driver: Driver::Process, command, ..echo() }
}

fn limited(plan: AgentPlan, limits: RunLimits) -> AgentPlan {
    AgentPlan { limits, ..plan }
}

fn with_schema(command: Command, schema: &Value) -> Command {
    let Command::Prompt(mut prompt) = command else { unreachable!("a prompt") };
    prompt.schema = Some(schema.clone());
    Command::Prompt(prompt)
}

fn number() -> Value {
    json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] })
}

#[tokio::test]
async fn a_program_gets_the_prompt_and_its_output_is_the_answer() {
    let mut plane = Plane::start().await;
    let plan = AgentPlan {
        system_prompt: Some("be brief".to_owned()),
        model: Some("m".to_owned()),
        effort: Some(Effort::High),
        ..script(
            "printf '%s|' \"$REEVE_SESSION_ID\" \"$REEVE_RUN_ID\" \"$REEVE_EFFORT\" \
             \"$REEVE_MODEL\" \"$REEVE_SYSTEM_PROMPT\" \"$REEVE_AGENT\" \"$PWD\"; cat; echo x >&2",
        )
    };
    plane.command(prompt_to(plan.clone(), 1, 1, "two\nlines \u{1F600}")).await;
    let ended = plane.completed(1, 1).await;
    assert_eq!(ended.stop_reason.as_deref(), Some("end_turn"));
    let workspace = plane.directory.path().join("workspace");
    let expected = format!(
        "{}|{}|high|m|be brief||{}|two\nlines \u{1F600}",
        session(1),
        run(1),
        workspace.display()
    );
    assert_eq!(plane.said(1, 1), expected);
    plane.command(prompt_to(script("exec <&-; echo alone"), 1, 2, &"x".repeat(1_000_000))).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), "alone\n", "nobody has to read its prompt");
    plane
        .command(prompt_to(
            script("printf 'a\\377b\\303'; sleep 0.05; printf '\\244\\360'"),
            1,
            3,
            "go",
        ))
        .await;
    plane.completed(1, 3).await;
    assert_eq!(plane.said(1, 3), "a\u{FFFD}b\u{e4}\u{FFFD}");
}

#[tokio::test]
async fn a_program_that_fails_fails_its_run_and_says_why() {
    let mut plane = Plane::start().await;
    for (number, plan, told) in [
        (1, script("echo half; echo the reason >&2; exit 3"), "exit status: 3: the reason"),
        (2, script("kill -9 $$"), "signal: 9"),
        (3, AgentPlan { command: vec!["/no/such".to_owned()], ..script("") }, "No such file"),
        (4, script("yes reason | head -c 9000000 >&2; echo last >&2; exit 1"), "last"),
    ] {
        plane.command(prompt_to(plan, number, number, "go")).await;
        let ended = plane.ended(number, number).await;
        assert_eq!(ended.outcome, Outcome::Failed);
        assert_eq!(ended.code.as_deref(), Some(failure::PROCESS_FAILED));
        assert!(ended.detail.as_deref().unwrap().contains(told), "{ended:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_program_is_left_and_the_next_run_works() {
    let arguments = vec!["--cancel-timeout-ms", "5000"];
    let mut plane = Plane::with(Setup { arguments, ..Setup::default() }).await;
    let stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' & \
                    echo up; while :; do sleep 1; done";
    plane.command(prompt_to(script(stubborn), 1, 1, "go")).await;
    plane.until(1, |event| event["what"]["update"]["kind"] == "agent_message_chunk").await;
    plane.command(cancel(1, 1)).await;
    assert_eq!(plane.ended(1, 1).await.outcome, Outcome::Cancelled);
    let alive = descendants(plane.pid());
    assert_eq!(alive.len(), 1, "only what runs the programs: {alive:?}");
    plane.command(prompt_to(script(stubborn), 1, 2, "go")).await;
    plane.command(prompt_to(script("setsid sleep 1000 & echo left"), 2, 3, "go")).await;
    plane.completed(2, 3).await;
    assert_eq!(plane.said(2, 3), "left\n");
    plane.command(cancel(1, 2)).await;
    assert_eq!(plane.ended(1, 2).await.outcome, Outcome::Cancelled);
    let seconds = RunLimits { timeout_seconds: 1, ..RunLimits::default() };
    plane.command(prompt_to(limited(script("sleep 1000"), seconds), 1, 4, "go")).await;
    assert_eq!(plane.failed(1, 4).await, failure::TIMEOUT);
    plane.command(prompt_to(script("echo well"), 1, 5, "go")).await;
    plane.completed(1, 5).await;
    assert_eq!(plane.said(1, 5), "well\n");
}

#[tokio::test]
async fn what_never_ends_is_cut_off_and_nothing_grows() {
    let mut plane = Plane::start().await;
    plane.command(prompt_to(script("echo first"), 1, 1, "go")).await;
    plane.completed(1, 1).await;
    let (before, _) = plane.memory();
    plane
        .command(prompt_to(script("head -c 100000000 /dev/zero | tr '\\0' 'x'"), 1, 2, "go"))
        .await;
    assert_eq!(plane.failed(1, 2).await, failure::OUTPUT_LIMIT);
    let (_, most) = plane.memory();
    assert!(most < before + 16 * 1024, "from {before} to {most} KiB");
    plane.command(prompt_to(script("echo next"), 1, 3, "go")).await;
    plane.completed(1, 3).await;
}

/// An endpoint that answers with these, one after the other.
fn endpoint(answers: Vec<(u16, &'static str, String)>) -> Model {
    let mut answers = answers.into_iter();
    Box::new(move |path, body| {
        assert_eq!(path, FORWARD);
        assert!(body["prompt"].is_string() && body["runId"].is_string(), "{body}");
        answers.next().expect("an answer for each request")
    })
}

fn remote() -> AgentPlan {
    AgentPlan { driver: Driver::Http, url: Some("http://bot.example/".to_owned()), ..echo() }
}

#[tokio::test]
async fn an_endpoint_answers_as_a_whole_or_as_a_stream() {
    let stream = "data: {\"text\": \"one \"}\n\ndata: {\"text\": \"two\", \
                  \"usage\": {\"inputTokens\": 3, \"outputTokens\": 4}}\n\ndata: [DONE]\n\n";
    let model = endpoint(vec![
        (200, "application/json; charset=utf-8", json!({ "text": "whole" }).to_string()),
        (200, "text/event-stream", stream.to_owned()),
    ]);
    let mut plane = Plane::with(Setup { model: Some(model), ..Setup::default() }).await;
    plane.command(prompt_to(remote(), 1, 1, "go")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "whole");
    plane.command(prompt_to(remote(), 1, 2, "go")).await;
    let usage = plane.completed(1, 2).await.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (3, 4));
    assert_eq!(plane.said(1, 2), "one two");
}

#[tokio::test]
async fn whatever_an_endpoint_does_wrong_has_a_code() {
    let json = "application/json";
    let events = "text/event-stream";
    let long = format!("data: {}\n\n", json!({ "text": "x".repeat(1_000_000) })).repeat(20);
    let denied = json!({ "code": "egress_denied", "detail": "not listed" }).to_string();
    let cases = vec![
        ((500, json, "{\"error\": \"broken\"}".to_owned()), failure::HTTP_ERROR, "500: broken"),
        ((404, "text/html", "<p>".to_owned()), failure::HTTP_ERROR, "404"),
        ((403, "application/problem+json", denied.clone()), failure::EGRESS_DENIED, "not listed"),
        ((403, json, denied), failure::HTTP_ERROR, "403"),
        ((200, "text/html", "<p>".to_owned()), failure::HTTP_ERROR, "`text/html`"),
        ((200, json, "\u{0}\u{1}garbage".to_owned()), failure::HTTP_ERROR, "not what it is to be"),
        ((200, json, "{}".to_owned()), failure::HTTP_ERROR, "no text"),
        ((200, json, "{\"text\": 1}".to_owned()), failure::HTTP_ERROR, "not what it is to be"),
        ((200, json, "{\"error\": {\"message\": \"no\"}}".to_owned()), failure::HTTP_ERROR, "no"),
        ((200, events, "data: garbage\n\n".to_owned()), failure::HTTP_ERROR, "not what it is"),
        ((200, events, String::new()), failure::HTTP_ERROR, "no text"),
        ((200, events, long), failure::OUTPUT_LIMIT, "more than"),
        (
            (200, json, json!({ "text": "x".repeat(5_000_000) }).to_string()),
            failure::OUTPUT_LIMIT,
            "more than",
        ),
    ];
    let model = endpoint(cases.iter().map(|(answer, ..)| answer.clone()).collect());
    let mut plane = Plane::with(Setup { model: Some(model), ..Setup::default() }).await;
    for (number, (answer, code, told)) in (1..).zip(cases) {
        plane.command(prompt_to(remote(), 1, number, "go")).await;
        let ended = plane.ended(1, number).await;
        let shown: String = answer.2.chars().take(80).collect();
        assert_eq!(ended.code.as_deref(), Some(code), "{shown}: {ended:?}");
        assert!(ended.detail.as_deref().unwrap().contains(told), "{shown}: {ended:?}");
    }
}

#[tokio::test]
async fn tokens_that_an_endpoint_tells_of_are_counted() {
    let spent = |n: u64| json!({ "text": "x", "usage": { "inputTokens": n, "outputTokens": 0 } });
    let stream = format!("data: {}\n\n", spent(500));
    let answers =
        vec![(200, "application/json", spent(60).to_string()), (200, "text/event-stream", stream)];
    let model = endpoint(answers);
    let mut plane = Plane::with(Setup { model: Some(model), ..Setup::default() }).await;
    let limits = RunLimits { max_tokens: 50, ..RunLimits::default() };
    let wrong = with_schema(prompt_to(limited(remote(), limits), 1, 1, "go"), &number());
    plane.command(wrong).await;
    assert_eq!(plane.failed(1, 1).await, failure::TOKEN_LIMIT, "there are none for a correction");
}

#[tokio::test]
async fn an_answer_by_a_schema_is_asked_for_until_it_fits() {
    let mut plane = Plane::start().await;
    // Says what the count of its turns is worth: the third answer fits.
    let counting = "cat > asked; n=$(cat n 2>/dev/null || echo 0); n=$((n+1)); echo $n > n; \
                    case $n in 1) echo words;; 2) echo '{\"n\": \"2\"}';; *) \
                    printf 'so\\n```json\\n{\"n\": 3}\\n```\\n';; esac";
    plane.command(with_schema(prompt_to(script(counting), 1, 1, "count"), &number())).await;
    let ended = plane.completed(1, 1).await;
    assert_eq!(ended.structured, Some(json!({ "n": 3 })));
    let corrections = plane.updates(1, 1, "output_correction");
    let rounds: Vec<_> = corrections.iter().map(|data| data["round"].as_u64()).collect();
    assert_eq!(rounds, [Some(1), Some(2)]);
    assert_eq!(corrections[0]["reason"], "the answer is not JSON");
    let asked = std::fs::read_to_string(plane.directory.path().join("workspace/asked")).unwrap();
    for part in ["count", "\"integer\"", "{\"n\": \"2\"}", "/n: "] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    plane.command(with_schema(prompt_to(script("echo never"), 2, 2, "go"), &number())).await;
    let ended = plane.ended(2, 2).await;
    assert_eq!(ended.code.as_deref(), Some(failure::OUTPUT_INVALID));
    assert_eq!(ended.structured, None);
    assert_eq!(plane.updates(2, 2, "output_correction").len(), 2);
    let once = RunLimits { max_turns: 1, ..RunLimits::default() };
    let plan = limited(script("echo never"), once);
    plane.command(with_schema(prompt_to(plan, 3, 3, "go"), &number())).await;
    assert_eq!(plane.failed(3, 3).await, failure::TURN_LIMIT);
    let plan = script("exit 7");
    plane.command(with_schema(prompt_to(plan, 4, 4, "go"), &number())).await;
    assert_eq!(plane.failed(4, 4).await, failure::PROCESS_FAILED);
    let says = "!say {\"n\": 5}\n!refuse";
    plane.command(with_schema(prompt_to(echo(), 5, 5, says), &number())).await;
    assert_eq!(plane.completed(5, 5).await.structured, Some(json!({ "n": 5 })));
    plane.command(with_schema(prompt_to(echo(), 6, 6, "words"), &number())).await;
    assert_eq!(plane.failed(6, 6).await, failure::OUTPUT_INVALID);
    assert_eq!(plane.updates(6, 6, "output_correction").len(), 2);
}

#[tokio::test]
async fn the_model_is_sent_its_answer_back_and_told_how_much_to_think() {
    for shape in SHAPES {
        let says = vec![Say::Text("words"), Say::Text("{\"n\": 1}")];
        let (model, asked) = model(shape, says);
        let mut plane = Plane::with(Setup { model: Some(model), ..Setup::default() }).await;
        let plan = AgentPlan { driver: Driver::Vanilla, effort: Some(Effort::Medium), ..echo() };
        plane.command(with_schema(prompt_to(plan, 1, 1, "count"), &number())).await;
        let ended = plane.completed(1, 1).await;
        assert_eq!(ended.structured, Some(json!({ "n": 1 })));
        assert_eq!(ended.usage.unwrap().output_tokens, 14, "of both rounds");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2);
        assert!(asked[1].to_string().contains("Your answer does not fit"));
        match shape {
            Shape::Anthropic => {
                assert_eq!(asked[0]["thinking"]["budget_tokens"], 4096);
                assert!(asked[0]["max_tokens"].as_u64() > Some(4096));
            }
            Shape::OpenAi => assert_eq!(asked[0]["reasoning_effort"], "medium"),
        }
    }
}

/// Each agent has a session of its own.
fn session_of(agent: &AgentPlan) -> u128 {
    if agent.env.is_empty() { 1 } else { 2 }
}

#[tokio::test]
async fn an_agent_of_another_maker_is_told_by_its_own_option() {
    let mut plane = Plane::start().await;
    let rich = [("ECHO_CAPABILITIES".to_owned(), "rich".to_owned())].into();
    let rich = AgentPlan { env: rich, ..echo() };
    let with = |agent: &AgentPlan, number: u128, effort: Option<Effort>| {
        let command = prompt_to(agent.clone(), session_of(agent), number, "!settings");
        let Command::Prompt(mut prompt) = command else { unreachable!("a prompt") };
        prompt.effort = effort;
        Command::Prompt(prompt)
    };
    plane.command(with(&echo(), 1, Some(Effort::High))).await;
    plane.completed(1, 1).await;
    let ignored = plane.updates(1, 1, "effort_ignored");
    assert_eq!(ignored[0]["effort"], "high", "it offers none, and that is told");
    plane.command(with(&echo(), 2, None)).await;
    plane.completed(1, 2).await;
    assert!(plane.updates(1, 2, "effort_ignored").is_empty());
    for (number, effort, told) in [(3, Some(Effort::Max), "high"), (4, None, "low")] {
        plane.command(with(&rich, number, effort)).await;
        plane.completed(2, number).await;
        let said = plane.said(2, number);
        assert!(said.contains(told), "{effort:?}: {said}");
        assert!(plane.updates(2, number, "effort_ignored").is_empty());
    }
}

#[tokio::test]
async fn a_cancel_between_rounds_ends_the_run() {
    let mut plane = Plane::start().await;
    let slow = script("if [ -e once ]; then echo again; sleep 1000; fi; touch once; echo words");
    plane.command(with_schema(prompt_to(slow, 1, 1, "go"), &number())).await;
    plane.until(1, |event| event["what"]["update"]["kind"] == "output_correction").await;
    plane.command(cancel(1, 1)).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), plane.ended(1, 1)).await.unwrap();
    assert_eq!(ended.outcome, Outcome::Cancelled);
}
