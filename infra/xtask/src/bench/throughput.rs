//! How many events of many sessions become durable in a second.

use std::time::Duration;

use serde_json::Value;
use tokio::time::interval;

use super::client::Client;
use super::figure::{Figure, Target, median, note};
use super::reeve::Reeve;
use super::{Here, Result};

/// How often, how many sessions, each in a sandbox of its own, and how many events each.
const ROUNDS: usize = 5;
const SESSIONS: usize = 50;
const EVENTS: usize = 4000;

/// Has every agent say as much as it can.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("throughput"))?;
    let mut client = reeve.client().await?;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let agent = client.agent(&format!("floods {number}")).await?;
        sessions.push(client.session(&agent).await?);
    }
    // Every container is there before anything is measured.
    round(&mut client, &sessions, "hello").await?;
    let begun = durable(&mut client, &sessions).await?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand events")]
    let all = (SESSIONS * EVENTS) as f64;
    for _ in 0..ROUNDS {
        let before = reeve.cpu()?;
        let seconds = round(&mut client, &sessions, &format!("!events {EVENTS}")).await?;
        rates.push(all / seconds);
        costs.push((reeve.cpu()? - before) * 1e6 / all);
        note(&format!("throughput: {:.0} events/s", all / seconds));
    }
    let written = durable(&mut client, &sessions).await? - begun;
    if written < (ROUNDS * SESSIONS * EVENTS) as u64 {
        return Err(format!("only {written} events are durable").into());
    }
    Ok(vec![Figure::new(
        "durable events per second, 50 sessions",
        "/s",
        Target::AtLeast(20_000.0),
        median(&rates),
        format!(
            "median of {ROUNDS} rounds of {EVENTS} events from each of {SESSIONS} real sandboxes, agents and shims on the same cores; first run started to last run ended; reeve itself used {:.1} us of processor per event",
            median(&costs),
        ),
    )])
}

/// Gives every session the prompt and waits for the end of all. Seconds from the first start of a run
/// to the last end, by the control plane's clock.
async fn round(client: &mut Client, sessions: &[String], prompt: &str) -> Result<f64> {
    let mut runs = Vec::new();
    for session in sessions {
        runs.push(client.prompt(session, prompt).await?);
    }
    let (mut first, mut last) = (f64::MAX, f64::MIN);
    let mut look = interval(Duration::from_millis(50));
    for run in &runs {
        let ended = loop {
            look.tick().await;
            let view = client.get(&format!("/v1/runs/{run}")).await?;
            match view["state"].as_str() {
                Some("completed") => break view,
                Some("failed" | "cancelled") => return Err(format!("a run failed: {view}").into()),
                _ => {}
            }
        };
        first = first.min(moment(&ended["startedAt"])?);
        last = last.max(moment(&ended["endedAt"])?);
    }
    Ok(last - first)
}

/// How many events the sessions have.
async fn durable(client: &mut Client, sessions: &[String]) -> Result<u64> {
    let mut events = 0;
    for session in sessions {
        let view = client.get(&format!("/v1/sessions/{session}")).await?;
        events += view["lastSeq"].as_u64().ok_or("a session counts its events")?;
    }
    Ok(events)
}

/// A time of the API, in seconds.
fn moment(time: &Value) -> Result<f64> {
    let text = time.as_str().ok_or("a run that ended has its times")?;
    // 2026-01-01T00:00:00.000Z: what is compared lies within a day, or the round is measured again.
    let (_, clock) = text.trim_end_matches('Z').split_once('T').ok_or("a time has a day")?;
    clock.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}
