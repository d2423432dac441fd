//! An import beside prompts, killed in the middle, and where it cannot go on.

use std::fs;

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use super::{FILES, LOOK, all_saying, import, paths, workspace, write_all};

#[tokio::test]
async fn a_prompt_given_during_an_import_sees_all_of_it_or_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let done = join_all((0..4).map(async |_| {
        let agent = client.agent().await;
        write_all(&client, &agent, "one").await;
        let sessions = [client.session(&agent).await, client.session(&agent).await];
        let mut done = 0;
        for round in 0..25 {
            let text = ["two", "one"][round % 2];
            let bring = async || import(&client, &agent, all_saying(text)).await;
            let ask = async |n: usize| client.ask(&sessions[n], LOOK).await;
            // Whoever is polled first is sent first.
            let (brought, said) = match round % 3 {
                0 => {
                    let (brought, said) = tokio::join!(bring(), ask(0));
                    (brought, vec![said])
                }
                1 => {
                    let (said, brought, other) = tokio::join!(ask(0), bring(), ask(1));
                    (brought, vec![said, other])
                }
                _ => {
                    let (brought, said, other) = tokio::join!(bring(), ask(1), ask(0));
                    (brought, vec![said, other])
                }
            };
            for said in said {
                assert!(["one\n", "two\n"].contains(&said.as_str()), "{round}: {said:?}");
            }
            if brought.status == 200 {
                done += 1;
            } else {
                assert_eq!(brought.is(409)["code"], "agent_busy");
            }
        }
        // Once it is quiet, it is what was brought last.
        write_all(&client, &agent, "three").await;
        assert_eq!(client.ask(&sessions[0], LOOK).await, "three\n");
        done
    }));
    assert!(done.await.iter().any(|done| *done > 0), "none was carried out");
}

#[tokio::test]
async fn nothing_is_imported_under_a_run_and_files_are_put_beside_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!wait").await;
    client.reaches(&run, "streaming").await;
    let refused = import(&client, &agent, all_saying("one")).await;
    assert_eq!(refused.is(409)["code"], "agent_busy");
    client.put_file(&agent, "beside", b"it").await;
    assert_eq!(paths(&client, &agent).await, ["beside"]);
    client.post(&format!("/v1/runs/{run}/cancel"), Value::Null).await.is(202);
    client.ended(&run).await;
    write_all(&client, &agent, "one").await;
    assert_eq!(client.ask(&session, LOOK).await, "one\n");
}

#[tokio::test]
async fn killed_at_any_step_an_import_has_not_begun_or_is_finished() {
    for (step, times, begun) in [
        ("file.import:before", 0, false),
        ("file.import:after", 0, true),
        ("workspace.put:after", 0, true),
        ("workspace.put:after", 17, true),
        ("workspace.put:after", FILES - 1, true),
        ("snapshot.restored:before", 0, true),
        ("snapshot.restored:after", 0, true),
    ] {
        let mut reeve = Reeve::start(Options::default()).await;
        let client = reeve.client();
        let agent = client.agent().await;
        write_all(&client, &agent, "one").await;
        client.put_file(&agent, "own/file", b"kept").await;
        reeve.stop().await;
        let fault = format!("{step}={times}*off->return");
        reeve.restart(Options::default().env("FAILPOINTS", fault)).await;
        let client = reeve.client();
        let path = format!("/v1/agents/{agent}/files/import");
        let archive = all_saying("two");
        let request = client.request(Method::POST, &path).header("idempotency-key", "once");
        Client::try_send(request.body(archive.clone())).await.unwrap_err();
        reeve.ended().await;
        // Something that is no run goes on meanwhile.
        fs::write(workspace(&reeve, &agent).join("made"), "meanwhile").unwrap();
        reeve.restart(Options::default()).await;

        // A prompt that is given at once finds it settled.
        let client = reeve.client();
        let session = client.session(&agent).await;
        let expected = if begun { "two\n" } else { "one\n" };
        assert_eq!(client.ask(&session, LOOK).await, expected, "{step} after {times}");
        let all = paths(&client, &agent).await;
        assert_eq!(all.len(), FILES + 3, "{step} after {times}: {all:?}");
        assert_eq!(client.ask(&session, "!shell cat own/file made").await, "keptmeanwhile");

        // Nothing stands in anybody's way; asked again, it is done, once.
        at_last("it can be asked for again", async || {
            let request = client.request(Method::POST, &path).header("idempotency-key", "once");
            Client::try_send(request.body(archive.clone())).await.unwrap().status == 200
        })
        .await;
        assert_eq!(client.ask(&session, LOOK).await, "two\n", "{step}");
        let list = format!("/v1/agents/{agent}/snapshots?order=asc");
        let history = client.all(&list).await;
        let causes = history.iter().map(|one| one["cause"].as_str().unwrap());
        let causes: Vec<_> = causes.filter(|cause| cause.contains("import")).collect();
        let expected: &[&str] =
            if begun { &["import", "before_import", "import"] } else { &["import", "import"] };
        assert!(causes.starts_with(expected) || !begun, "{step}: {causes:?}");
        assert_eq!(causes.iter().filter(|cause| **cause == "import").count(), 2, "{step}");
        reeve.stop().await;
    }
}

/// A rollback or an import that was decided and cannot go on: something is in the way of who makes files.
#[tokio::test]
async fn a_run_that_waits_for_the_workspace_says_so() {
    for what in ["import", "rollback"] {
        let reeve = Reeve::start(Options::default()).await;
        let client = reeve.client();
        let agent = client.agent().await;
        let session = client.session(&agent).await;
        write_all(&client, &agent, "one").await;
        let first = client.made(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await;
        write_all(&client, &agent, "two").await;
        assert_eq!(client.ask(&session, LOOK).await, "two\n");

        let aside = workspace(&reeve, &agent).with_file_name("aside");
        fs::remove_dir(&aside).unwrap();
        fs::write(&aside, "in the way").unwrap();
        let stuck = if what == "import" {
            import(&client, &agent, all_saying("three")).await
        } else {
            let path = format!("/v1/agents/{agent}/snapshots/{first}/rollback");
            client.post(&path, Value::Null).await
        };
        assert_eq!(stuck.is(503)["code"], "unavailable");
        let run = client.prompt(&session, LOOK).await;
        let path = format!("/v1/runs/{run}");
        at_last("it says what it waits for", async || {
            client.get(&path).await.is(200)["reason"] == "waiting_for_workspace"
        })
        .await;
        assert_eq!(client.get(&path).await.text("/state"), "dispatching");
        let past = client.past(&session).await;
        let told = past.iter().filter(|event| event["type"] == "waiting_for_workspace");
        let told: Vec<_> = told.map(|event| (&event["runId"], &event["data"]["what"])).collect();
        assert_eq!(told, [(&run.as_str().into(), &what.into())], "once");

        fs::remove_file(&aside).unwrap();
        let ended = client.ended(&run).await;
        assert_eq!((&ended["state"], &ended["reason"]), (&"completed".into(), &Value::Null));
        let expected = if what == "import" { "three\n" } else { "one\n" };
        assert_eq!(client.ask(&session, LOOK).await, expected);
    }
}
