//! How fast a sleeping agent is awake, and what agents cost that sleep.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use super::client::{Client, Events};
use super::figure::{Figure, Target, median};
use super::reeve::Reeve;
use super::time::millis_since;
use super::{Here, Result};

/// How often one agent is put to sleep and woken.
const ROUNDS: usize = 30;

/// How many agents sleep.
const SLEEPERS: usize = 200;

/// The longest that containers may take to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// Wakes one agent again and again, and lets many sleep.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("wake"))?;
    let mut client = reeve.client().await?;
    let agent = client.agent("sleeps").await?;
    let session = client.session(&agent).await?;
    let mut events = reeve.client().await?.follow(&session).await?;
    client.prompt(&session, "hello").await?;
    events.until("completed").await?;
    if reeve.processes()? == 0 {
        return Err("no process is seen where an agent runs".into());
    }
    let (mut woken, mut own) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // What an agent takes to start where its container runs: its process is gone, nothing else.
        client.prompt(&session, "!exit 3").await?;
        while events.next().await?.run_state() != Some("failed") {}
        own.push(turn(&mut client, &session, &mut events).await?);
        sleep(&mut client, &agent).await?;
        asleep(&reeve).await?;
        woken.push(turn(&mut client, &session, &mut events).await?);
    }
    sleep(&mut client, &agent).await?;
    for number in 1..SLEEPERS {
        let agent = client.agent(&format!("sleeps {number}")).await?;
        let session = client.session(&agent).await?;
        let mut events = reeve.client().await?.follow(&session).await?;
        client.prompt(&session, "hello").await?;
        events.until("completed").await?;
        sleep(&mut client, &agent).await?;
    }
    asleep(&reeve).await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred processes at most")]
    let left = reeve.processes()? as f64;
    Ok(vec![
        Figure::new(
            "wake from hibernation to first event, over the agent's own start, p50",
            "ms",
            Target::AtMost(80.0),
            median(&woken) - median(&own),
            format!(
                "{ROUNDS} wakes by a prompt, {:.1} ms seen by a client, p50; the same agent started again in a container that runs takes {:.1} ms",
                median(&woken),
                median(&own),
            ),
        ),
        Figure::new(
            "processes of 200 hibernated agents",
            "",
            Target::AtMost(0.0),
            left,
            format!(
                "{SLEEPERS} agents that had a run each; reeve has {:.0} MB in memory",
                reeve.resident()?
            ),
        ),
    ])
}

/// Milliseconds from a prompt to the first event that says its agent works.
async fn turn(client: &mut Client, session: &str, events: &mut Events) -> Result<f64> {
    let asked = Instant::now();
    client.prompt(session, "hello").await?;
    events.until("streaming").await?;
    let taken = millis_since(asked);
    events.until("completed").await?;
    Ok(taken)
}

async fn sleep(client: &mut Client, agent: &str) -> Result<Value> {
    client.post(&format!("/v1/agents/{agent}/pause"), &json!({})).await
}

/// Returns when no container runs, and a moment later: the last has to be written down as stopped.
async fn asleep(reeve: &Reeve) -> Result<()> {
    let mut look = interval(Duration::from_millis(20));
    let stopped = async {
        loop {
            look.tick().await;
            if reeve.shims()?.is_empty() {
                break;
            }
        }
        for _ in 0..5 {
            look.tick().await;
        }
        Ok(())
    };
    timeout(PATIENCE, stopped).await.map_err(|_| "containers do not stop")?
}
