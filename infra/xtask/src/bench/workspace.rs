//! How long a snapshot of a large workspace takes, the first and after a little has changed.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::client::Client;
use super::figure::{Figure, Target, median};
use super::reeve::Reeve;
use super::time::millis_since;
use super::{Here, Result};

/// How many files there are, and how many change before each snapshot.
const FILES: usize = 10_000;
const CHANGED: usize = 10;

const ROUNDS: usize = 9;

/// Fills the directory of an agent as the agent would, and asks for snapshots.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let data = here.data("workspace");
    let reeve = Reeve::start(&here.reeve(), &data)?;
    let mut client = reeve.client().await?;
    let agent = client.agent("writer").await?;
    let directory = data.join("agents").join(&agent).join("workspace");
    for n in 0..FILES {
        write(&directory, n, 0)?;
    }
    let (first, snapshot) = timed(&mut client, &agent).await?;
    if snapshot["files"] != json!(FILES) {
        return Err(format!("a snapshot of {FILES} files has another number: {snapshot}").into());
    }
    let mut later = Vec::new();
    for round in 1..=ROUNDS {
        for n in 0..CHANGED {
            write(&directory, (n * 997 + round) % FILES, round)?;
        }
        let (taken, snapshot) = timed(&mut client, &agent).await?;
        if snapshot["changed"]["modified"] != json!(CHANGED) {
            return Err(format!("a snapshot missed what changed: {snapshot}").into());
        }
        later.push(taken / 1e3);
    }
    Ok(vec![
        Figure::new(
            "snapshot of 10,000 files of which 10 changed",
            "s",
            Target::AtMost(1.0),
            median(&later),
            format!("median of {ROUNDS}, by request, durable"),
        ),
        Figure::new(
            "the first snapshot of 10,000 files",
            "s",
            Target::Any,
            first / 1e3,
            "each is read, 1 KiB",
        ),
    ])
}

fn write(directory: &Path, n: usize, round: usize) -> Result<()> {
    let directory = directory.join(format!("{}/{}", n % 10, n / 10 % 10));
    fs::create_dir_all(&directory)?;
    let text = format!("{n} {round}\n").repeat(1024);
    Ok(fs::write(directory.join(n.to_string()), &text[..1024])?)
}

async fn timed(client: &mut Client, agent: &str) -> Result<(f64, Value)> {
    let asked = Instant::now();
    let snapshot = client.post(&format!("/v1/agents/{agent}/snapshots"), &json!({})).await?;
    Ok((millis_since(asked), snapshot))
}
