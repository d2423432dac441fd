//! How long an event takes from the agent that says it to whoever follows the session.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::figure::{Figure, Target, median, note, quantile};
use super::reeve::Reeve;
use super::time::millis_since;
use super::{Here, Result};

/// How often, how many events, and how many in a second.
const ROUNDS: usize = 5;
const EVENTS: usize = 5000;
const RATE: usize = 1000;

/// How often the disk is asked before and after each round.
const FLUSHES: usize = 200;

/// Follows a session whose agent says when it said what.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("latency"))?;
    let mut client = reeve.client().await?;
    let agent = client.agent("talks").await?;
    let session = client.session(&agent).await?;
    let mut events = reeve.client().await?.follow(&session).await?;
    client.prompt(&session, "hello").await?;
    events.until("completed").await?;
    let (mut middles, mut tails, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut flushes = flushed(&here.data("flushed"))?;
    for _ in 0..ROUNDS {
        client.prompt(&session, &format!("!rate {EVENTS} {RATE}")).await?;
        let (mut taken, mut first, mut last) = (Vec::with_capacity(EVENTS), None, 0.0);
        loop {
            let event = events.next().await?;
            if let Some(sent) = event.view["data"]["_meta"]["sentAt"].as_f64() {
                taken.push((event.at - sent) / 1e3);
                first.get_or_insert(sent);
                last = sent;
            }
            if event.run_state() == Some("completed") {
                break;
            }
        }
        if taken.len() != EVENTS {
            return Err(format!("{} of {EVENTS} events came", taken.len()).into());
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousand events")]
        rates.push((EVENTS - 1) as f64 * 1e6 / (last - first.unwrap_or_default()));
        middles.push(median(&taken));
        tails.push(quantile(&taken, 0.99));
        flushes.extend(flushed(&here.data("flushed"))?);
        note(&format!("latency: p99 {:.2} ms", tails.last().copied().unwrap_or_default()));
    }
    let how = format!(
        "median of {ROUNDS} rounds of {EVENTS} events of one agent at {:.0}/s; from before the agent writes it to its last byte at the client; p50 {:.2} ms",
        median(&rates),
        median(&middles),
    );
    Ok(vec![
        Figure::new(
            "event to SSE subscriber at 1,000/s, p99",
            "ms",
            Target::AtMost(10.0),
            median(&tails),
            how,
        ),
        Figure::new(
            "the disk's own flush, p99",
            "ms",
            Target::Any,
            quantile(&flushes, 0.99),
            format!(
                "8 KB and fdatasync, between those rounds; p50 {:.2} ms: an event waits for one such flush, or for two",
                median(&flushes),
            ),
        ),
    ])
}

/// How long the disk takes to make something durable.
fn flushed(path: &Path) -> Result<Vec<f64>> {
    let mut file = File::create(path)?;
    let mut taken = Vec::new();
    for _ in 0..FLUSHES {
        file.write_all(&[0; 8192])?;
        let asked = Instant::now();
        file.sync_data()?;
        taken.push(millis_since(asked));
    }
    Ok(taken)
}
