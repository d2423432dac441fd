//! An agent's directories where the container keeps none: they are fetched, and what became of them is
//! sent. And where it keeps them: they are looked at.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use wire::shim::Command;
use wire::shim::keep::MAX_PIECE;

use crate::given::prompt;
use crate::plane::{Plane, Setup};
use crate::store::Store;

fn fresh(store: Store) -> Setup {
    Setup { cloud: true, store: Some(store), ..Setup::default() }
}

/// Lets an agent do something in a container that is new, and ends that as it is asked to.
async fn one_start(store: Store, script: &str) -> (String, Store) {
    let mut plane = Plane::with(fresh(store)).await;
    plane.command(prompt(1, 1, script)).await;
    plane.completed(1, 1).await;
    let said = plane.said(1, 1);
    plane.command(Command::Stop).await;
    while let Some(frame) = plane.frame().await {
        plane.take(frame).await;
    }
    assert!(plane.exit().await.success());
    (said, plane.store.take().unwrap())
}

#[tokio::test]
async fn what_an_agent_leaves_is_there_in_its_next_container() {
    let leave = "!shell mkdir -p a/b empty && echo one > a/b/one && ln -s a/b/one link \
        && printf '#!/bin/sh\\necho run' > tool && chmod +x tool && : > nothing \
        && head -c 300000 /dev/urandom > large && sha256sum large > sum \
        && echo mine > $HOME/.session && mkdir $HOME/.cache && echo no > $HOME/.cache/x";
    let (said, store) = one_start(Store::default(), leave).await;
    assert_eq!(said.trim(), "");
    let manifest = store.manifest();
    let look = "!shell cat link && ./tool && sha256sum -c sum && cat $HOME/.session \
        && ls -A $HOME && stat -c '%s %F' nothing empty";
    let (said, store) = one_start(store, look).await;
    let expected = "one\nrun\nlarge: OK\nmine\n.reeve\n.session\n0 regular empty file\n";
    assert!(said.starts_with(expected) && said.contains("directory"), "{said}");
    // The echo agent counts its sessions in its home: that is sent, and nothing else.
    assert_eq!(store.manifest(), manifest, "where nothing changed, nothing was sent");
}

#[tokio::test]
async fn only_what_changed_is_sent_and_it_is_there_when_the_run_ends() {
    let mut plane = Plane::with(fresh(Store::default())).await;
    let many = "!shell for n in $(seq 400); do head -c 1000 /dev/urandom > f$n; done";
    plane.command(prompt(1, 1, many)).await;
    plane.completed(1, 1).await;
    let before = plane.store.as_ref().unwrap().bytes();
    assert!(before > 400_000, "{before}");
    plane.command(prompt(1, 2, "!shell echo changed > f7 && rm f8")).await;
    plane.completed(1, 2).await;
    let store = plane.store.as_ref().unwrap();
    // Both manifests on their way and at their place; beside them a pack of a file, one of what the agent
    // remembers, and what each pack begins with.
    let (more, manifests) = (store.bytes() - before, store.manifest_bytes());
    assert!(more < 2 * manifests + 300, "{more} bytes for a file of 8, {manifests} for the rest");
    let paths = store.paths();
    assert!(paths.contains(&"f7".to_owned()) && !paths.contains(&"f8".to_owned()));
    assert_eq!(paths.len(), 399);
}

#[tokio::test]
async fn questions_survive_the_connection() {
    let mut plane = Plane::with(fresh(Store::default())).await;
    plane.command(prompt(1, 1, "!write kept text")).await;
    // What is asked is lost with the connection, again and again.
    for _ in 0..3 {
        let frame = plane.frame().await.unwrap();
        assert!(frame.get("ask").is_some() || frame.get("report").is_some(), "{frame}");
        plane.socket = None;
        plane.accept().await;
    }
    plane.completed(1, 1).await;
    assert_eq!(plane.store.as_ref().unwrap().paths(), ["kept"]);
}

#[tokio::test]
async fn what_cannot_be_fetched_fails_the_run_and_the_next_may_find_it() {
    let (_, mut store) = one_start(Store::default(), "!write kept text").await;
    store.refusing = true;
    let mut plane = Plane::with(fresh(store)).await;
    plane.command(prompt(1, 1, "!read kept")).await;
    assert_eq!(plane.failed(1, 1).await, "workspace_unavailable");
    plane.store.as_mut().unwrap().refusing = false;
    plane.command(prompt(1, 2, "!read kept")).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2).trim(), "text");
}

#[tokio::test]
async fn a_link_leads_nowhere_and_what_is_too_large_is_said() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s3cret").unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut plane = Plane::with(fresh(Store::default())).await;
    let link = |to: &Path| format!("ln -s {} out", to.display());
    let script = format!(
        "!shell {} && ln -s {}/secret file && mkfifo pipe && truncate -s 600M huge",
        link(outside.path()),
        outside.path().display()
    );
    plane.command(prompt(1, 1, &script)).await;
    plane.completed(1, 1).await;
    let store = plane.store.as_ref().unwrap();
    assert_eq!(store.paths(), ["file", "out"], "links as they are, and nothing behind them");
    assert_eq!(store.manifest()["left_out_count"], json!(2));
    assert!(!store.holds(b"s3cret"));
    assert!(store.longest() <= MAX_PIECE);
}

#[tokio::test]
async fn directories_that_stay_are_looked_at_before_the_end_of_a_run_is_told() {
    let mut plane = Plane::start().await;
    plane.command(prompt(1, 1, "!write kept text")).await;
    plane.completed(1, 1).await;
    let [(run, told)] = plane.looked[..] else { panic!("looked at {:?}", plane.looked) };
    assert_eq!(run, plane.of(1).last().unwrap()["run"].as_str().unwrap().parse().unwrap());
    assert!(told < plane.of(1).len(), "the end is told after it");
    plane.blind = true;
    plane.command(prompt(1, 2, "!write kept more")).await;
    plane.completed(1, 2).await;
    let updates = plane.updates(1, 2, "workspace_not_kept");
    assert_eq!(updates.len(), 1, "{updates:?}");
    assert_eq!(updates[0]["reason"], "it could not be looked at");
}
