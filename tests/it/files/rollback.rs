//! A rollback beside prompts and changes that are asked for at the same moment, and killed in the middle.

use futures::future::join_all;
use serde_json::Value;
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use super::{FILES, LOOK, get, paths, write_all};

async fn snapshot(client: &Client, agent: &str) -> String {
    client.made(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await
}

fn back(agent: &str, snapshot: &str) -> String {
    format!("/v1/agents/{agent}/snapshots/{snapshot}/rollback")
}

#[tokio::test]
async fn a_prompt_given_during_a_rollback_sees_all_of_it_or_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let told = join_all((0..4).map(async |_| {
        let agent = client.agent().await;
        let mut states = Vec::new();
        for text in ["one", "two"] {
            write_all(&client, &agent, text).await;
            states.push(snapshot(&client, &agent).await);
        }
        let sessions = [client.session(&agent).await, client.session(&agent).await];
        let (mut done, mut refused) = (0, 0);
        for round in 0..25 {
            let path = back(&agent, &states[round % 2]);
            let roll = async || client.post(&path, Value::Null).await;
            let ask = async |n: usize| client.ask(&sessions[n], LOOK).await;
            let put = async || client.put_file(&agent, "beside", &[7; 10]).await;
            // Whoever is polled first is sent first.
            let (rolled, said) = match round % 4 {
                0 => {
                    let (rolled, said, ()) = tokio::join!(roll(), ask(0), put());
                    (rolled, vec![said])
                }
                1 => {
                    let (said, (), rolled, other) = tokio::join!(ask(0), put(), roll(), ask(1));
                    (rolled, vec![said, other])
                }
                2 => {
                    // Who puts a file waits for a rollback, so the prompt comes at its end.
                    let late = async || {
                        put().await;
                        ask(0).await
                    };
                    let (rolled, said) = tokio::join!(roll(), late());
                    (rolled, vec![said])
                }
                _ => {
                    let ((), rolled, said, other) = tokio::join!(put(), roll(), ask(1), ask(0));
                    (rolled, vec![said, other])
                }
            };
            for said in said {
                assert!(["one\n", "two\n"].contains(&said.as_str()), "{round}: {said:?}");
            }
            if rolled.status == 201 {
                done += 1;
            } else {
                assert_eq!(rolled.is(409)["code"], "agent_busy");
                refused += 1;
            }
            assert_eq!(get(&client, &agent, "part07", &[]).await.status, 200);
        }
        // Once it is quiet, it is what was asked for last.
        client.post(&back(&agent, &states[0]), Value::Null).await.is(201);
        assert_eq!(client.ask(&sessions[0], LOOK).await, "one\n");
        (done, refused)
    }));
    let told = told.await;
    assert!(told.iter().any(|(done, _)| *done > 0), "none was carried out: {told:?}");
}

#[tokio::test]
async fn killed_at_any_step_a_rollback_has_not_begun_or_is_finished() {
    for (step, times, begun) in [
        ("snapshot.rollback:before", 0, false),
        ("snapshot.rollback:after", 0, true),
        ("workspace.remove:after", 0, true),
        ("workspace.put:after", 0, true),
        ("workspace.put:after", 17, true),
        ("workspace.put:after", FILES, true),
        ("snapshot.restored:before", 0, true),
        ("snapshot.restored:after", 0, true),
    ] {
        let mut reeve = Reeve::start(Options::default()).await;
        let client = reeve.client();
        let agent = client.agent().await;
        write_all(&client, &agent, "one").await;
        client.put_file(&agent, "only/then", b"then").await;
        let first = snapshot(&client, &agent).await;
        write_all(&client, &agent, "two").await;
        client.delete(&super::raw(&agent, "only")).await.is(204);
        client.put_file(&agent, "new/now", b"now").await;
        reeve.stop().await;
        let fault = format!("{step}={times}*off->return");
        reeve.restart(Options::default().env("FAILPOINTS", fault)).await;
        let path = back(&agent, &first);
        reeve.client().post_once(&path, "once", Value::Null).await.unwrap_err();
        reeve.ended().await;
        reeve.restart(Options::default()).await;

        // A prompt that is given at once finds it settled.
        let client = reeve.client();
        let session = client.session(&agent).await;
        let expected = if begun { "one\n" } else { "two\n" };
        assert_eq!(client.ask(&session, LOOK).await, expected, "{step} after {times}");
        let other = if begun { ["only", "only/then"] } else { ["new", "new/now"] };
        let mut all: Vec<_> = (0..FILES).map(|n| format!("part{n:02}")).collect();
        all.extend(other.map(str::to_owned));
        all.sort();
        assert_eq!(paths(&client, &agent).await, all, "{step} after {times}");

        // Nothing stands in anybody's way, what was there before is kept, and asked again it is done.
        let list = format!("/v1/agents/{agent}/snapshots?order=asc");
        let history = client.all(&list).await;
        let causes: Vec<_> = history.iter().map(|one| one["cause"].as_str().unwrap()).collect();
        if begun {
            let expected = ["import", "asked", "import", "before_rollback", "rollback"];
            assert_eq!(causes[..5], expected, "{step}");
            let before = history[3]["id"].as_str().unwrap();
            let now = snapshot(&client, &agent).await;
            assert_eq!(history[4]["id"], now, "{step}: it is what was decided");
            let again = client.post_once(&path, "once", Value::Null).await.unwrap().is(201);
            assert_eq!(again["id"], now, "{step}: the answer is the first one");
            client.post(&back(&agent, before), Value::Null).await.is(201);
            assert_eq!(client.ask(&session, LOOK).await, "two\n", "{step}");
        } else {
            at_last("it can be asked for again", async || {
                client.post_once(&path, "once", Value::Null).await.unwrap().status == 201
            })
            .await;
            assert_eq!(client.ask(&session, LOOK).await, "one\n", "{step}");
        }
        reeve.stop().await;
    }
}
