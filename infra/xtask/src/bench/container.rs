//! How fast a container is there, and what its shim weighs.

use std::time::Instant;

use super::figure::{Figure, Target, median};
use super::reeve::{Reeve, resident};
use super::time::millis_since;
use super::{Here, Result, docker};

/// How many containers are started, one after the other.
const ROUNDS: usize = 30;

/// The product's own measure, from the commit that asks for a container to its shim's first word.
const METRIC: &str = "container_start_duration_seconds{quantile=\"0.5\"}";

/// Starts containers, each for an agent of its own, by giving it its first prompt.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("container"))?;
    let mut client = reeve.client().await?;
    let (mut streaming, mut weights) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let agent = client.agent(&format!("start {round}")).await?;
        let session = client.session(&agent).await?;
        let mut events = reeve.client().await?.follow(&session).await?;
        let asked = Instant::now();
        client.prompt(&session, "hello").await?;
        events.until("streaming").await?;
        streaming.push(millis_since(asked));
        events.until("completed").await?;
    }
    for shim in reeve.shims()? {
        weights.push(resident(shim)?);
    }
    let metrics = String::from_utf8_lossy(&client.read("/metrics").await?).into_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix(METRIC));
    let seconds: f64 = line.ok_or("reeve has measured no start")?.trim().parse()?;
    let started = seconds * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let size = reeve.shim_bytes()? as f64 / 1e6;
    let ratio = "the same, as a part of `docker run`";
    let program = std::fs::read_dir(here.data("container").join("bin"))?.next();
    let program = program.ok_or("reeve puts its shim into its data directory")??.path();
    Ok(vec![
        Figure::new(
            "container requested to shim connected, p50",
            "ms",
            Target::AtMost(50.0),
            started,
            format!(
                "{ROUNDS} starts; reeve's own container_start_duration_seconds, from the prompt's commit to the shim's first frame taken in"
            ),
        ),
        match docker::run(&program)? {
            Ok(docker) => Figure::new(
                ratio,
                "",
                Target::AtMost(1.0 / 8.0),
                started / docker,
                format!(
                    "docker run takes {docker:.0} ms, p50, with an image of one static program"
                ),
            ),
            Err(why) => Figure::skipped(ratio, "", Target::AtMost(1.0 / 8.0), why),
        },
        Figure::new(
            "prompt sent to run streaming, p50",
            "ms",
            Target::Any,
            median(&streaming),
            "the same starts seen by a client: request, container, agent, its session, the event over SSE",
        ),
        Figure::new("shim, size", "MB", Target::AtMost(10.0), size, "the file that is carried"),
        Figure::new(
            "shim, memory with one agent",
            "MB",
            Target::AtMost(8.0),
            median(&weights),
            "VmRSS, after one turn",
        ),
    ])
}
