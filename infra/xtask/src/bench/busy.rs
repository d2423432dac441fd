//! How long an event takes where many agents say something at the same time.

use tokio::task::JoinSet;

use super::figure::{Figure, Target, median, quantile};
use super::reeve::Reeve;
use super::{Here, Result};

/// How many agents, each in a sandbox of its own; how many events each, and how many in a second.
const AGENTS: usize = 50;
const EVENTS: usize = 200;
const RATE: usize = 20;

/// Follows every session while every agent talks.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("busy"))?;
    let mut client = reeve.client().await?;
    let mut followed = Vec::new();
    for number in 0..AGENTS {
        let agent = client.agent(&format!("talks {number}")).await?;
        let session = client.session(&agent).await?;
        let mut events = reeve.client().await?.follow(&session).await?;
        // Its container is there before anything is measured.
        client.prompt(&session, "hello").await?;
        events.until("completed").await?;
        followed.push((session, events));
    }
    let mut reading = JoinSet::new();
    for (session, mut events) in followed {
        client.prompt(&session, &format!("!rate {EVENTS} {RATE}")).await?;
        reading.spawn(async move {
            let mut taken = Vec::with_capacity(EVENTS);
            loop {
                let event = events.next().await?;
                if let Some(sent) = event.view["data"]["_meta"]["sentAt"].as_f64() {
                    taken.push((event.at - sent) / 1e3);
                }
                if event.run_state() == Some("completed") {
                    return Ok::<_, super::Error>(taken);
                }
            }
        });
    }
    let mut taken = Vec::new();
    while let Some(done) = reading.join_next().await {
        taken.extend(done??);
    }
    if taken.len() != AGENTS * EVENTS {
        return Err(format!("{} of {} events came", taken.len(), AGENTS * EVENTS).into());
    }
    Ok(vec![Figure::new(
        "event to SSE subscriber, 50 busy agents, p99",
        "ms",
        Target::AtMost(50.0),
        quantile(&taken, 0.99),
        format!(
            "{AGENTS} agents, each {EVENTS} events at {RATE}/s, and as many subscribers, on the same cores; p50 {:.2} ms",
            median(&taken),
        ),
    )])
}
