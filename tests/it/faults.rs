//! Everything but the control plane's own steps is killed, stopped, cut off or filled up; and the
//! control plane is killed under load.
//!
//! What holds here: nothing that was acknowledged is lost, nothing happens twice, every run ends and
//! says why, and nothing is left running.

mod ends;
mod load;
mod shims;

use std::collections::BTreeSet;

use serde_json::Value;
use tests::http::Client;

/// Holds what was told of a session to its rules: no gap, nothing twice, one end for each run.
async fn sound(client: &Client, session: &str) -> Vec<Value> {
    let events = client.past(session).await;
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let runs: BTreeSet<&str> = events.iter().filter_map(|event| event["runId"].as_str()).collect();
    for run in runs {
        let ends = events.iter().filter(|event| {
            event["runId"] == run
                && event["type"] == "run_state"
                && matches!(
                    event["data"]["state"].as_str(),
                    Some("completed" | "cancelled" | "failed")
                )
        });
        assert!(ends.count() <= 1, "{run} ended more than once: {events:#?}");
    }
    events
}
