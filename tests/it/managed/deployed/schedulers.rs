//! Schedulers that are invoked at once.

use std::collections::BTreeSet;

use futures::future::{join, join_all};
use serde_json::{Value, json};
use tests::fault_proxy::{Call, Fault, Held};

use super::{disturbed, ran_once};

/// How many are invoked beside those that a change of the table nudges.
const AT_ONCE: usize = 4;

/// The commits in which a scheduler may claim errands: of one, and of many.
const COMMITS: [&str; 2] = ["PutItem", "TransactWriteItems"];

/// The errands that a commit claims for the first time: the document of each.
fn first_claims(call: &Call) -> Vec<Value> {
    let many = call.body["TransactItems"].as_array().into_iter().flatten();
    let items = many.map(|item| &item["Put"]["Item"]).chain([&call.body["Item"]]);
    let documents = items.filter_map(|item| item["body"]["S"].as_str());
    let documents = documents.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let documents = documents.map(|stored| stored["doc"].clone());
    documents.filter(|due| due["heldUntil"].is_string() && due["attempt"] == 1).collect()
}

#[tokio::test]
async fn whoever_is_invoked_at_once_carries_out_each_errand_once() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let realm = client.get("/v1/me").await.text("/realm/id");
    let _scheduler = account.through("workers.scheduler", &proxy).await;
    // All have seen what is due before any may claim it.
    let together = Held::default();
    for commit in COMMITS {
        proxy.fault_about(commit, &realm, Fault::Hold(together.clone()), usize::MAX);
    }

    let agents = join_all((0..3).map(|_| client.agent())).await;
    let sessions = join_all(agents.iter().map(|agent| client.session(agent))).await;
    let runs = sessions.iter().map(|session| client.prompt(session, "!count"));
    let runs = join_all(runs).await;
    let released = async {
        together.came(AT_ONCE + 1).await;
        together.let_go();
    };
    let (answers, ()) = join(account.invoke("workers.scheduler", AT_ONCE), released).await;
    for answer in answers {
        assert_eq!((&answer["StatusCode"], &answer["FunctionError"]), (&json!(200), &Value::Null));
    }

    for ((agent, session), run) in agents.iter().zip(&sessions).zip(&runs) {
        assert_eq!(client.ended(run).await["state"], "completed");
        assert_eq!(client.said(session, run).await, "1", "the agent got one prompt");
        ran_once(&client, session, run).await;
        assert_eq!(account.tasks(agent).await, 1, "one container");

        // They all tried, and one got it. A try that is made again has its token again.
        let claims = COMMITS.iter().flat_map(|commit| proxy.calls(commit)).filter(|call| {
            first_claims(call)
                .iter()
                .any(|due| due["errand"].to_string().contains(session.as_str()))
        });
        let (mut tried, mut got) = (BTreeSet::new(), BTreeSet::new());
        for call in claims {
            let token = &call.body["ClientRequestToken"];
            let token = format!("{token}{}", call.body["Item"]["by"]);
            if call.answer.is_object() && call.answer["__type"].is_null() {
                got.insert(token.clone());
            }
            tried.insert(token);
        }
        assert!(tried.len() > 1, "{} tried", tried.len());
        assert_eq!(got.len(), 1, "one of {} got it", tried.len());
    }
}
