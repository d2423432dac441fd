//! Every way to misbehave, at every phase of the protocol: the run ends as it should, nothing is
//! left, nothing has grown, and the next run works.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use wire::shim::{Command, failure};

use crate::given::{echo, prompt, prompt_to, with_timeout};
use crate::plane::{PATIENCE, Plane, Setup, descendants};

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    BeforeInitialize,
    AtInitialize,
    AfterInitialize,
    AtNew,
    AfterNew,
    AtPrompt,
}

/// How the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It does not matter to the run.
    Well,
    /// With this code.
    With(&'static str),
    /// The agent is never heard of again: what that means depends on the phase.
    Unheard,
}

/// What it does, and what becomes of it.
const FAULTS: &[(&str, End)] = &[
    ("!garbage 3", End::Well),
    ("!wrongid", End::Well),
    ("!zombies 20", End::Well),
    ("!mutter 3000000", End::Well),
    ("!raw {\"jsonrpc\":\"2.0\",\"id\":{},\"method\":7}", End::Well),
    ("!garbage 2000\n!ignorecancel", End::With(failure::AGENT_PROTOCOL)),
    ("!longline 100000000\n!ignorecancel", End::With(failure::AGENT_PROTOCOL)),
    ("!halfline\n!exit 3", End::With(failure::AGENT_EXITED)),
    ("!exit 0", End::With(failure::AGENT_EXITED)),
    ("!kill9", End::With(failure::AGENT_EXITED)),
    ("!ignoreterm\n!fork\n!zombies 5\n!kill9", End::With(failure::AGENT_EXITED)),
    ("!halfline\n!ignorecancel", End::Unheard),
    ("!ignorecancel", End::Unheard),
    ("!wrongid\n!ignorecancel", End::Unheard),
    ("!ignoreterm\n!fork\n!ignorecancel", End::Unheard),
    ("!flood\n!ignorecancel", End::Unheard),
    ("!flood requests\n!ignorecancel", End::Unheard),
];

impl Phase {
    /// Its name among the echo agent's moments; none for the prompt itself.
    fn moment(self) -> Option<&'static str> {
        match self {
            Self::BeforeInitialize => Some("start"),
            Self::AtInitialize => Some("initialize"),
            Self::AfterInitialize => Some("initialize answered"),
            Self::AtNew => Some("session/new"),
            Self::AfterNew => Some("session/new answered"),
            Self::AtPrompt => None,
        }
    }

    /// What an agent that is not heard of any more is called.
    fn unheard(self) -> &'static str {
        match self {
            Self::BeforeInitialize | Self::AtInitialize | Self::AfterInitialize | Self::AtNew => {
                failure::AGENT_SILENT
            }
            // It has the prompt, or could have read it.
            Self::AfterNew | Self::AtPrompt => failure::TIMEOUT,
        }
    }
}

/// How long the rows of a phase have: who is never heard of is waited for as long as that takes.
fn patience(end: End) -> Setup {
    let arguments = match end {
        End::Unheard => vec!["--start-timeout-ms", "2000", "--cancel-timeout-ms", "500"],
        End::Well | End::With(_) => Vec::new(),
    };
    Setup { arguments, ..Setup::default() }
}

async fn misbehave(phase: Phase) {
    let (unheard, others): (Vec<_>, Vec<_>) =
        FAULTS.iter().copied().partition(|(_, end)| *end == End::Unheard);
    for rows in [unheard, others] {
        let mut plane = Plane::with(patience(rows[0].1)).await;
        let (before, _) = plane.memory();
        for (number, (fault, end)) in (1..).zip(rows) {
            one(&mut plane, phase, number, fault, end).await;
        }
        let (now, most) = plane.memory();
        // The longest line there may be, once; this is a debug build, the release build is measured
        // apart.
        assert!(most < before + 24 * 1024, "{before} KiB before, {most} KiB at most");
        assert!(now < before + 12 * 1024, "{before} KiB before, {now} KiB now");
        end(plane).await;
    }
}

/// Stops the shim, and looks whether anything outlives it.
async fn end(mut plane: Plane) {
    plane.command(Command::Stop).await;
    assert!(plane.exit().await.success());
    let none: [String; 0] = [];
    assert_eq!(mentioning(plane.directory.path()), none, "nothing outlives the shim");
}

async fn one(plane: &mut Plane, phase: Phase, number: u128, fault: &str, end: End) {
    let case = format!("{phase:?}: {fault}");
    let mut plan = with_timeout(if end == End::Unheard { 2 } else { 60 });
    let script = match phase.moment() {
        Some(moment) => {
            plan.env.insert("ECHO_SCRIPTS".to_owned(), json!({ moment: fault }).to_string());
            "!say well"
        }
        None => fault,
    };
    plane.command(prompt_to(plan, number, number, script)).await;
    let ended = plane.ended(number, number).await;
    let expected = match end {
        End::Well => None,
        End::With(code) => Some(code),
        End::Unheard => Some(phase.unheard()),
    };
    assert_eq!(ended.code.as_deref(), expected, "{case}: {ended:?}");
    // One that floods its prompt still hears that it is to stop: it lives on.
    let lives = end == End::Well || (phase == Phase::AtPrompt && fault.starts_with("!flood"));
    if !lives {
        nothing_left(plane, &case).await;
    }
    let next = 1000 + number;
    plane.command(prompt(number, next, "!say again")).await;
    plane.completed(number, next).await;
    assert_eq!(plane.said(number, next), "again", "{case}");
}

/// Waits until the shim has no process below it, no zombie either.
async fn nothing_left(plane: &mut Plane, case: &str) {
    let gone = async {
        let mut beats = tokio::time::interval(Duration::from_millis(10));
        while !descendants(plane.pid()).is_empty() {
            beats.tick().await;
            // What is said meanwhile is taken in, as ever.
            drop(timeout(Duration::from_millis(1), plane.step()).await);
        }
    };
    let gone = timeout(PATIENCE, gone).await.is_ok();
    assert!(gone, "{case}: left {:?}", descendants(plane.pid()));
}

/// The processes whose environment speaks of `directory`.
fn mentioning(directory: &std::path::Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    let of = |pid: &std::path::Path, file: &str| {
        String::from_utf8_lossy(&std::fs::read(pid.join(file)).unwrap_or_default()).into_owned()
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| of(&entry.path(), "environ").contains(directory))
        .map(|entry| of(&entry.path(), "cmdline").replace('\0', " "))
        .collect()
}

#[tokio::test]
async fn before_initialize() {
    misbehave(Phase::BeforeInitialize).await;
}

#[tokio::test]
async fn at_initialize() {
    misbehave(Phase::AtInitialize).await;
}

#[tokio::test]
async fn after_initialize() {
    misbehave(Phase::AfterInitialize).await;
}

#[tokio::test]
async fn at_session_new() {
    misbehave(Phase::AtNew).await;
}

#[tokio::test]
async fn after_session_new() {
    misbehave(Phase::AfterNew).await;
}

#[tokio::test]
async fn at_a_prompt() {
    misbehave(Phase::AtPrompt).await;
}

/// What an agent does once it has answered is no run's: it is ended, and the next prompt has another.
#[tokio::test]
async fn after_a_prompt() {
    for fault in
        ["!flood", "!garbage 2000", "!longline 9000000", "!kill9", "!ignoreterm\n!fork\n!exit 1"]
    {
        let mut plane = Plane::start().await;
        let mut plan = echo();
        let scripts = json!({ "session/prompt answered": fault }).to_string();
        plan.env.insert("ECHO_SCRIPTS".to_owned(), scripts);
        plane.command(prompt_to(plan.clone(), 1, 1, "!say one")).await;
        plane.completed(1, 1).await;
        nothing_left(&mut plane, fault).await;
        plane.command(prompt_to(plan, 1, 2, "!count")).await;
        plane.completed(1, 2).await;
        assert_eq!(plane.said(1, 2), "2", "{fault}");
        // After that the other agent goes on in the same way.
        let over = |event: &Value| event["what"]["ended"].is_object();
        let told = plane.of(1).iter().rposition(over).unwrap();
        // Of each of the two processes that were in it.
        assert!(told < 2 * 1100, "{told} events of {fault}");
        end(plane).await;
    }
}

/// An answer that says nothing usable is the end of the run, not of the shim.
#[tokio::test]
async fn an_answer_that_cannot_be_used_fails_the_run() {
    let long = format!("{{\"sessionId\":\"{}\"}}", "x".repeat(2000));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (moment, id, result) in [
        ("initialize", 0, "null"),
        ("initialize", 0, "{}"),
        ("initialize", 0, &deep),
        ("session/new", 1, "{}"),
        ("session/new", 1, &long),
        ("session/new", 1, "{\"sessionId\":7}"),
        ("session/prompt", 2, "{}"),
        ("session/prompt", 2, "{\"stopReason\":null}"),
    ] {
        let mut plane = Plane::start().await;
        let answer = format!("!raw {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
        let mut plan = echo();
        let mut script = answer.clone();
        if moment != "session/prompt" {
            let scripts = json!({ moment: answer }).to_string();
            plan.env.insert("ECHO_SCRIPTS".to_owned(), scripts);
            "!say no".clone_into(&mut script);
        }
        plane.command(prompt_to(plan, 1, 1, &script)).await;
        assert_eq!(plane.failed(1, 1).await, failure::AGENT_PROTOCOL, "{moment} {result:.40}");
        plane.command(prompt(1, 2, "!say again")).await;
        plane.completed(1, 2).await;
    }
}
