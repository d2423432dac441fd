//! Every list: pages that fit together, whatever happens between them.

use std::collections::BTreeSet;

use api::Verb;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tests::sample;

async fn ids(client: &Client, path: &str) -> Vec<String> {
    let items = client.all(path).await;
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_list_reads_the_same_in_pages_of_any_size_and_from_either_end() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let given = sample::everything(&client).await;
    for n in 0..4 {
        let agent = client.agent().await;
        for _ in 0..3 {
            client.session(&agent).await;
            client.prompt(&given["sessionId"], "!say on").await;
        }
        client.made("/v1/keys", json!({ "name": "k" })).await;
        client.made("/v1/templates", json!({ "name": "t", "driver": "acp" })).await;
        client.made("/v1/containers", json!({})).await;
        client.put_file(&given["agentId"], &format!("file-{n}"), b"another state").await;
        let snapshots = format!("/v1/agents/{}/snapshots", given["agentId"]);
        client.post(&snapshots, Value::Null).await.is(201);
        client.made("/v1/realms", json!({ "name": format!("realm {n}") })).await;
    }
    let mut lists = 0;
    for route in sample::guarded().filter(|route| route.verb == Verb::Get) {
        let asked = sample::query(&route);
        if !asked.contains(&"order") {
            continue;
        }
        lists += 1;
        let path = sample::path(&route, &given);
        let newest = ids(&client, &format!("{path}?limit=100")).await;
        let mut oldest = ids(&client, &format!("{path}?limit=100&order=asc")).await;
        oldest.reverse();
        assert_eq!(newest, oldest, "{path}");
        assert!(newest.len() > 4, "{path} has {newest:?}");
        assert_eq!(newest.iter().collect::<BTreeSet<_>>().len(), newest.len(), "{path}");
        assert!(newest.is_sorted_by(|a, b| a > b), "{path} is in order of creation");
        for limit in [1, 2, 3, newest.len()] {
            for order in ["asc", "desc"] {
                let mut pages = ids(&client, &format!("{path}?limit={limit}&order={order}")).await;
                if order == "asc" {
                    pages.reverse();
                }
                assert_eq!(pages, newest, "{path} by {limit} {order}");
            }
        }
    }
    assert!(lists >= 8, "{lists}");
}

#[tokio::test]
async fn what_is_made_or_goes_between_pages_neither_doubles_nor_hides_anything() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let made: Vec<_> = join_all((0..24).map(|_| client.agent())).await;
    for (order, limit) in [("asc", 5), ("desc", 5), ("asc", 1), ("desc", 1)] {
        let there: BTreeSet<_> = ids(&client, "/v1/agents?limit=100").await.into_iter().collect();
        let (mut seen, mut cursor, mut late, mut gone) =
            (Vec::new(), String::new(), Vec::new(), BTreeSet::new());
        loop {
            let path = format!("/v1/agents?limit={limit}&order={order}{cursor}");
            let page = client.get(&path).await.is(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            seen.extend(items.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            if late.len() < 4 {
                late.push(client.agent().await);
                // The one that the cursor names goes, too.
                let last = seen.last().unwrap().clone();
                client.delete(&format!("/v1/agents/{last}")).await.is(204);
                gone.insert(last);
            }
        }
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(once.len(), seen.len(), "no doubles");
        assert!(once.is_superset(&there.difference(&gone).cloned().collect()), "no gaps");
        assert!(seen.is_sorted_by(|a, b| if order == "asc" { a < b } else { a > b }));
        if order == "asc" {
            assert!(late.iter().all(|agent| once.contains(agent) || gone.contains(agent)));
        }
    }
    assert!(made.len() >= 24);
}

#[tokio::test]
async fn agents_are_found_by_state_and_label() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let label = |team: &str| json!({ "labels": { "team": team, "app/tier.x": "" } });
    let (one, two, plain) = (
        client.agent_with(label("a b/ö")).await,
        client.agent_with(label("c=d")).await,
        client.agent().await,
    );
    let found = async |query: &str| {
        let mut found = ids(&client, &format!("/v1/agents?limit=1&{query}")).await;
        found.reverse();
        found
    };
    assert_eq!(found("").await, [&one, &two, &plain].map(Clone::clone));
    assert_eq!(found("label=team%3Da%20b/%C3%B6").await, std::slice::from_ref(&one));
    assert_eq!(found("label=team=c=d").await, std::slice::from_ref(&two));
    assert_eq!(found("label=app/tier.x%3D").await, [one.clone(), two.clone()]);
    assert_eq!(found("label=team%3D").await, [""; 0]);
    client.post(&format!("/v1/agents/{two}/pause"), Value::Null).await.is(200);
    assert_eq!(found("state=paused").await, std::slice::from_ref(&two));
    assert_eq!(found("state=active").await, [one.clone(), plain.clone()]);
    assert_eq!(found("state=paused&label=app/tier.x%3D").await, std::slice::from_ref(&two));
    assert_eq!(found("state=active&label=team%3Dc%3Dd").await, [""; 0]);
    client.post(&format!("/v1/agents/{two}/resume"), Value::Null).await.is(200);
    let relabel = json!({ "labels": { "team": "new" } });
    client.patch(&format!("/v1/agents/{one}"), relabel).await.is(200);
    assert_eq!(found("label=app/tier.x%3D").await, std::slice::from_ref(&two));
    assert_eq!(found("label=team%3Dnew").await, std::slice::from_ref(&one));
    client.patch(&format!("/v1/agents/{one}"), json!({ "labels": null })).await.is(200);
    assert_eq!(found("label=team%3Dnew").await, [""; 0]);
    client.delete(&format!("/v1/agents/{two}")).await.is(204);
    assert_eq!(found("label=team%3Dc%3Dd").await, [""; 0]);
    assert_eq!(found("state=deleting").await, [""; 0], "what is being taken apart is not found");
    assert_eq!(found("state=active").await, [one, plain.clone()]);
    let session = client.session(&plain).await;
    assert_eq!(ids(&client, &format!("/v1/sessions?agentId={plain}")).await, [session]);
}
