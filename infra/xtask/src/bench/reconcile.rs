//! How long it takes to see to a thousand containers, when reeve starts again and finds them running.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::figure::{Figure, Target};
use super::reeve::Reeve;
use super::{Here, Result};

/// How many containers run.
const CONTAINERS: usize = 1000;

/// On how many connections they are started.
const CONNECTIONS: usize = 16;

/// The longest that the last of them may take to come up.
const PATIENCE: Duration = Duration::from_mins(2);

/// The product's own measure: two lists compared, and what differs seen to.
const METRIC: &str = "reconcile_duration_seconds{quantile=\"0.5\"}";

/// Starts them, kills reeve and starts it again: all of them run on, and are compared with the table.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let data = here.data("reconcile");
    let empty = Reeve::start(&here.reeve(), &data)?;
    let ready = empty.ready;
    drop(empty);
    let mut reeve = Reeve::start(&here.reeve(), &data)?;
    let mut operator = reeve.client().await?;
    let limits = json!({
        "maxContainers": CONTAINERS, "maxRunningContainers": CONTAINERS, "idleSeconds": 86_400,
    });
    let realm = operator.post("/v1/realms", &json!({ "name": "many", "limits": limits })).await?;
    reeve.key = realm["apiKey"].as_str().ok_or("a realm has a key")?.to_owned();
    let mut starting = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let mut client = reeve.client().await?;
        starting.spawn(async move {
            for _ in (connection..CONTAINERS).step_by(CONNECTIONS) {
                let made = client.post("/v1/containers", &json!({})).await?;
                let id = made["id"].as_str().ok_or("a container has an id")?;
                client.post(&format!("/v1/containers/{id}/wake"), &json!({})).await?;
            }
            Ok::<_, super::Error>(())
        });
    }
    while let Some(started) = starting.join_next().await {
        started??;
    }
    up(&reeve).await?;
    reeve.kill()?;
    let reeve = Reeve::start(&here.reeve(), &data)?;
    let found = reeve.shims()?.len();
    if found != CONTAINERS {
        return Err(format!("{found} of {CONTAINERS} containers run on").into());
    }
    let metrics = reeve.client().await?.read("/metrics").await?;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
    let seconds: f64 = line.ok_or("reeve has measured no sweep")?.trim().parse()?;
    let again = reeve.ready.as_secs_f64();
    // A stop ends as many as it has time for.
    let mut left = reeve;
    while !left.shims()?.is_empty() {
        drop(left);
        left = Reeve::start(&here.reeve(), &data)?;
    }
    Ok(vec![
        Figure::new(
            "1,000 running containers reconciled",
            "s",
            Target::AtMost(1.0),
            seconds,
            "reeve's own reconcile_duration_seconds at its start after a kill, nothing having changed: one list, one page of the table and no commit",
        ),
        Figure::new(
            "reeve killed to ready again, 1,000 containers adopted",
            "s",
            Target::Any,
            again,
            format!("{:.0} ms with none", ready.as_secs_f64() * 1e3),
        ),
    ])
}

/// Returns when every container is up.
async fn up(reeve: &Reeve) -> Result<()> {
    let mut client = reeve.client().await?;
    let mut look = interval(Duration::from_millis(200));
    let all = async {
        loop {
            look.tick().await;
            let (mut ready, mut path) = (0, "/v1/containers?limit=100".to_owned());
            loop {
                let page = client.get(&path).await?;
                let items = page["items"].as_array().ok_or("a page has items")?;
                ready += items.iter().filter(|one| one["state"] == "ready").count();
                let Some(cursor) = page["nextCursor"].as_str() else { break };
                path = format!("/v1/containers?limit=100&cursor={cursor}");
            }
            if ready == CONTAINERS {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, all).await.map_err(|_| "containers do not come up")?
}
