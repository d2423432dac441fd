//! The power fails under load; the disk is full.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::given::at_last;
use tests::reeve::{Options, Reeve};

use super::sound;

/// Clients that ask at once.
const CLIENTS: usize = 50;

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_under_load() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let answered = AtomicUsize::new(0);
    let asking = (0..CLIENTS).map(async |n| {
        let (mut agents, mut runs, mut cut) = (Vec::new(), Vec::new(), None);
        for round in 0.. {
            let once = format!("{n}.{round}");
            // Some to one session, some to sessions of their own, and some make agents.
            let (path, body) = match n % 3 {
                0 => (format!("/v1/sessions/{session}/prompt"), json!({ "prompt": "!say yes" })),
                1 => ("/v1/agents".to_owned(), json!({ "name": once, "driver": "acp" })),
                _ => ("/v1/sessions".to_owned(), json!({ "agentId": agent })),
            };
            match client.post_once(&path, &once, body.clone()).await {
                Ok(reply) if reply.status == 201 || reply.status == 202 => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    let id = reply.text("/id");
                    if n % 3 == 0 { runs.push(id) } else { agents.push(format!("{path}/{id}")) }
                }
                // The line is full, or others were faster twelve times: nothing happened.
                Ok(reply) => assert!([409, 429].contains(&reply.status), "{reply:?}"),
                Err(_) => {
                    cut = Some((path, once, body));
                    break;
                }
            }
        }
        (agents, runs, cut)
    });
    let killing = at_last("enough was answered", async || answered.load(Ordering::Relaxed) > 600);
    let (asked, ()) = futures::future::join(join_all(asking), async {
        killing.await;
        rustix::process::kill_process(reeve.pid(), rustix::process::Signal::KILL).unwrap();
    })
    .await;
    reeve.ended().await;
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    let mut ids = BTreeSet::new();
    for (paths, runs, cut) in asked {
        for path in paths {
            assert_eq!(client.get(&path).await.status, 200, "{path}");
        }
        for run in runs {
            assert_eq!(client.get(&format!("/v1/runs/{run}")).await.status, 200, "{run}");
            assert!(ids.insert(run));
        }
        // Who got no answer asks again: it happens once, whether or not it had.
        let Some((path, once, body)) = cut else { continue };
        let first = client.post_once(&path, &once, body.clone()).await.unwrap();
        let again = client.post_once(&path, &once, body).await.unwrap();
        if first.status < 300 {
            assert_eq!((first.status, &first.body), (again.status, &again.body), "{path}");
        }
    }
    for run in &ids {
        let ended = client.ended(run).await;
        assert_eq!(ended["state"], "completed", "{ended:#}");
    }
    sound(&client, &session).await;
    reeve.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_said_and_spoils_nothing() {
    // The data directory is a small file system of its own, in a mount namespace of its own.
    let script = r#"for last do data=$last; done
        mkdir -p "$data" && mount -t tmpfs -o size=24m none "$data" &&
        head -c 12m /dev/zero >"$data/ballast" && exec "$0" "$@""#;
    let before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script];
    let before = before.into_iter().map(Into::into).collect();
    let mut reeve = Reeve::new();
    reeve.restart(Options { before, ..Options::default() }).await;
    let client = reeve.client();
    let large = json!({ "name": "a", "driver": "acp", "systemPrompt": "x".repeat(19_000) });
    let (mut made, mut refused) = (BTreeSet::new(), 0);
    while refused < 20 {
        let reply = client.post("/v1/agents", large.clone()).await;
        match reply.status {
            201 => assert!(made.insert(reply.text("/id"))),
            503 => {
                assert_eq!(reply.text("/code"), "unavailable", "{:#}", reply.body);
                refused += 1;
            }
            _ => panic!("{reply:?}"),
        }
        assert!(made.len() < 5000, "the disk is never full");
    }
    let listed = async || -> BTreeSet<String> {
        let all = client.all("/v1/agents?limit=100").await;
        all.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed().await, made, "what was refused is not there, what was made is");
    let data = reeve.data().display();
    std::fs::remove_file(format!("/proc/{}/root{data}/ballast", reeve.pid().as_raw_nonzero()))
        .unwrap();
    for _ in 0..20 {
        made.insert(client.made("/v1/agents", large.clone()).await);
    }
    assert_eq!(listed().await, made);
    let entries = client.all("/v1/audit?limit=100").await;
    let created = entries.iter().filter(|entry: &&Value| entry["action"] == "agent.create");
    assert_eq!(created.count(), made.len(), "one entry for each");
    reeve.stop().await;
}
