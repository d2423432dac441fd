//! Every durable step, and both of its sides: a reeve dies there, the next one takes over, and the
//! story ends as if nothing had happened.
//!
//! The steps are found by telling the story once and looking which were passed: a new commit is
//! covered by itself. Whoever asked and got no answer asks again, with the same `Idempotency-Key`.

pub(crate) mod driver;
mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use driver::Driver;
use futures::StreamExt;
use futures::stream;

/// How often a step is passed before the death at it.
const PASSES: [u32; 3] = [0, 1, 4];

/// How long one story may take, deaths and all.
const PATIENCE: Duration = Duration::from_secs(100);

/// How many stories are told at once: mostly they wait.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_step_changes_no_story() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut whole = Driver::new(None, Some(log.path()));
    story::tell(&mut whole).await;
    assert_eq!(whole.deaths(), 0);
    let log = std::fs::read_to_string(log.path()).unwrap();
    let steps: BTreeSet<String> = log.lines().map(str::to_owned).collect();
    assert!(steps.len() > 40, "the story passes many steps: {steps:?}");

    // Many are passed again and again, each time for another reason.
    let places = PASSES.iter().flat_map(|&passes| steps.iter().map(move |step| (passes, step)));
    let told = stream::iter(places).map(async |(passes, step)| {
        let fault = if passes == 0 { "return".to_owned() } else { format!("{passes}*off->return") };
        let mut driver = Driver::new(Some(format!("{step}={fault}")), None);
        let story = Box::pin(story::tell(&mut driver));
        let told = tokio::time::timeout(PATIENCE, story).await;
        told.unwrap_or_else(|_| panic!("dead at {step} after {passes}, the story does not end"));
        (passes, step, driver.deaths())
    });
    let told: Vec<(u32, &String, u32)> = told.buffer_unordered(AT_ONCE).collect().await;
    // A race decides whether some are passed at all: a shim may be faster than the platform's answer.
    let alive: Vec<&String> = told
        .iter()
        .filter(|(passes, _, deaths)| *passes == 0 && *deaths == 0)
        .map(|(_, step, _)| *step)
        .collect();
    assert!(alive.len() <= steps.len() / 8, "no reeve died at {alive:?} of {steps:?}");
}
