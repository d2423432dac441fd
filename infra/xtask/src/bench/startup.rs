//! How fast reeve is there, and how much memory it takes while nothing happens.

use super::figure::{Figure, Target, median};
use super::reeve::Reeve;
use super::time::millis;
use super::{Here, Result};

/// How often it is started.
const ROUNDS: usize = 15;

/// Starts it again and again on one data directory.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let data = here.data("startup");
    // What is made once is made before: keys, the table, the shim.
    let mut reeve = Reeve::start(&here.reeve(), &data)?;
    let fresh = millis(reeve.ready);
    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        drop(reeve);
        reeve = Reeve::start(&here.reeve(), &data)?;
        ready.push(millis(reeve.ready));
        // It has answered somebody and tried a sandbox.
        reeve.client().await?.read("/readyz").await?;
        resident.push(reeve.resident()?);
    }
    Ok(vec![
        Figure::new(
            "`reeve up` to ready, warm data directory",
            "ms",
            Target::AtMost(150.0),
            median(&ready),
            format!(
                "p50 of {ROUNDS} starts, to the line on stdout; the first ever took {fresh:.0} ms"
            ),
        ),
        Figure::new(
            "idle memory",
            "MB",
            Target::AtMost(60.0),
            median(&resident),
            "VmRSS, pages of the binary included, after one request to /readyz",
        ),
    ])
}
