//! Whether a page of a list costs the same however long the list is.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::client::Client;
use super::figure::{Figure, Target, median, note};
use super::reeve::Reeve;
use super::time::millis_since;
use super::{Here, Result};

/// How many agents there are in the short list and in the long one.
const FEW: u32 = 100;
const MANY: u32 = 100_000;

/// How often each page is read, in turns.
const ROUNDS: usize = 1500;

/// On how many connections agents are made.
const CONNECTIONS: u32 = 256;

/// Reads pages of two installations in turns: as long as the same process had both, the short list
/// would lie in the tree of the long one.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let few = Reeve::start(&here.reeve(), &here.data("few"))?;
    let many = Reeve::start(&here.reeve(), &here.data("many"))?;
    fill(&few, FEW).await?;
    let started = Instant::now();
    fill(&many, MANY).await?;
    let made = millis_since(started) / 1e3;
    note(&format!("list: {MANY} agents made in {made:.1} s"));
    let (mut short, mut long) = (few.client().await?, many.client().await?);
    let middle = middle(&mut long).await?;
    let first = "/v1/agents?limit=100";
    let (mut shorts, mut longs, mut middles) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        shorts.push(timed(&mut short, first).await?);
        longs.push(timed(&mut long, first).await?);
        middles.push(timed(&mut long, &middle).await?);
    }
    let base = median(&shorts);
    let how = |page: f64| format!("p50 of {ROUNDS} in turns: {page:.3} ms to {base:.3} ms");
    Ok(vec![
        Figure::new(
            "page of 100: of 100,000 agents to of 100",
            "",
            Target::AtMost(1.3),
            median(&longs) / base,
            how(median(&longs)),
        ),
        Figure::new(
            "the same, a page in the middle",
            "",
            Target::AtMost(1.3),
            median(&middles) / base,
            how(median(&middles)),
        ),
        Figure::new(
            "agents made per second",
            "/s",
            Target::Any,
            f64::from(MANY) / made,
            format!("{CONNECTIONS} connections, one durable commit each"),
        ),
        Figure::new(
            "memory with 100,000 agents",
            "MB",
            Target::Any,
            many.resident()?,
            "VmRSS, pages of the database that were read included",
        ),
    ])
}

async fn timed(client: &mut Client, path: &str) -> Result<f64> {
    let asked = Instant::now();
    client.read(path).await?;
    Ok(millis_since(asked))
}

/// Makes agents, the way anybody makes them.
async fn fill(reeve: &Reeve, count: u32) -> Result<()> {
    let mut making = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let mut client = reeve.client().await?;
        making.spawn(async move {
            for number in (connection..count).step_by(CONNECTIONS as usize) {
                let body = json!({ "name": format!("agent {number:06}"), "driver": "acp" });
                client.post("/v1/agents", &body).await?;
            }
            Ok::<_, super::Error>(())
        });
    }
    while let Some(made) = making.join_next().await {
        made??;
    }
    Ok(())
}

/// The path of a page from the middle of the long list.
async fn middle(client: &mut Client) -> Result<String> {
    let mut path = "/v1/agents?limit=100".to_owned();
    for _ in 0..MANY / 200 {
        let page = client.get(&path).await?;
        let cursor = page["nextCursor"].as_str().ok_or("a long list goes on")?;
        path = format!("/v1/agents?limit=100&cursor={cursor}");
    }
    Ok(path)
}
