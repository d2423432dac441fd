//! The registry's document is read entry by entry, whatever stands in it.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::bundle::{NoSource, Source};

const IDS: [&str; 30] = [
    "amp-acp",
    "auggie",
    "autohand",
    "claude-acp",
    "cline",
    "codex-acp",
    "cortex-code",
    "corust-agent",
    "cursor",
    "devin",
    "dimcode",
    "dirac",
    "factory-droid",
    "gemini",
    "github-copilot",
    "github-copilot-cli",
    "glm-acp-agent",
    "goose",
    "grok-build",
    "harn",
    "junie",
    "kilo",
    "kimi",
    "nova",
    "opencode",
    "pi-acp",
    "poolside",
    "qwen-code",
    "sigit",
    "stakpak",
];

/// A document of the official form: a third are programs, a third npm's, a third `PyPI`'s.
fn official() -> Value {
    let agents: Vec<_> = IDS.iter().enumerate().map(|(n, id)| {
        let distribution = match n % 3 {
            0 => json!({ "binary": {
                "linux-x86_64": { "archive": format!("https://example.com/{id}-x86_64.tar.gz"),
                    "cmd": format!("./{id}"), "args": ["acp"], "sha256": "a".repeat(64) },
                "darwin-aarch64": { "archive": format!("https://example.com/{id}.zip"), "cmd": id },
                "plan9-mips": { "archive": "https://example.com/x", "cmd": "x" },
            } }),
            1 => json!({ "npx": { "package": format!("@{id}/{id}@1.{n}.0"), "args": ["--acp"],
                "env": { "CI": "1" } } }),
            _ => json!({ "uvx": { "package": format!("{id}=={n}.0.1"), "cmd": format!("{id}-acp") },
                "npx": { "package": format!("{id}@{n}.0.1") } }),
        };
        json!({
            "id": id, "name": id.to_uppercase(), "version": format!("1.{n}.0"),
            "description": "An agent.\nOf several lines.", "authors": ["Somebody"],
            "license": "Apache-2.0", "license_url": "https://example.com/license",
            "repository": "https://example.com", "icon": "https://example.com/icon.svg",
            "preview": { "version": "2.0.0", "distribution": { "npx": { "package": "x@2.0.0" } } },
            "distribution": distribution,
        })
    }).collect();
    json!({ "version": "1.0.0", "agents": agents, "extensions": [], "news": { "a": 1 } })
}

fn read(document: &Value) -> Document {
    parse(document.to_string().as_bytes()).unwrap()
}

#[test]
fn the_official_document_reads_and_is_written_again_as_it_was() {
    let document = official();
    let read = read(&document);
    assert_eq!((read.entries.len(), &read.faults[..]), (30, &[][..]));
    assert_eq!(read.version.as_deref(), Some("1.0.0"));
    assert_eq!(serde_json::to_value(&read.entries).unwrap(), document["agents"]);
}

#[test]
fn a_bad_entry_costs_no_other_its_place_and_says_what_is_wrong() {
    let mut document = official();
    let bad = [
        (json!(7), "invalid type"),
        (json!({ "id": "Upper" }), "must match"),
        (json!({ "id": "amp-acp" }), "missing field"),
        (json!({ "id": "x", "name": "x", "version": "1.0.0", "distribution": {} }), "one of"),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0",
            "distribution": { "docker": {} } }),
            "one of",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0",
            "distribution": { "npx": { "package": "x@^1" } } }),
            "exact version",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0",
            "distribution": { "npx": { "package": "../x" } } }),
            "name of a package",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0", "distribution": { "binary": {
            "linux-x86_64": { "archive": "file:///etc/passwd", "cmd": "x" } } } }),
            "http(s)",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0", "distribution": { "binary": {
            "linux-x86_64": { "archive": "https://x/y", "cmd": "../x" } } } }),
            "below",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0", "distribution": { "binary": {
            "linux-x86_64": { "archive": "https://x/y", "cmd": "x", "sha256": "12" } } } }),
            "64",
        ),
        (
            json!({ "id": "x", "name": "x", "version": "1.0.0",
            "distribution": { "npx": { "package": "x@1.0.0", "env": { "REEVE_X": "" } } } }),
            "reserved",
        ),
        (json!({ "id": "x", "description": "y".repeat(40_000) }), "bytes"),
    ];
    let agents = document["agents"].as_array_mut().unwrap();
    for (entry, _) in &bad {
        agents.insert(15, entry.clone());
    }
    agents.push(agents[0].clone());
    let read = read(&document);
    assert_eq!((read.entries.len(), read.faults.len()), (30, bad.len() + 1));
    for (fault, (entry, reason)) in read.faults.iter().zip(bad.iter().rev()) {
        assert!(fault.reason.contains(reason), "{fault:?} of {entry}");
        assert_eq!(fault.id.as_deref(), entry["id"].as_str());
    }
    assert_eq!(read.faults.last().unwrap().reason, "is there twice");
}

#[test]
fn what_is_no_registry_says_so() {
    for text in ["", "{}", "[]", "null", r#"{"agents":{}}"#, r#"{"agents":[}"#, "<html>"] {
        assert!(matches!(parse(text.as_bytes()), Err(NotARegistry::Shape(_))), "{text}");
    }
    let large = vec![b' '; MAX_DOCUMENT + 1];
    assert_eq!(parse(&large).unwrap_err(), NotARegistry::TooLarge);
    let many = json!({ "agents": vec![json!({}); MAX_ENTRIES + 2] });
    let many = read(&many).faults;
    assert!(many.last().unwrap().reason.contains("behind the 1000"));
}

#[test]
fn the_simpler_schema_is_an_alias() {
    let document = json!({ "agents": [
        { "id": "echo-binary", "version": "1.0.0", "name": "Echo", "platforms": ["linux-x86-64"],
          "default_env": { "A": "b" }, "private": true, "protocol": { "auth_modes": ["none"] },
          "distribution": { "type": "binary", "binary": { "url": "https://example.com/echo",
              "executable": "echo", "args": ["-n"], "sha256": "b".repeat(64) } } },
        { "id": "echo-npx", "version": "1.0.0", "name": "Echo",
          "distribution": { "type": "npx", "npx": { "package": "@x/echo", "version": "1.0.0" } } },
    ] });
    let read = read(&document);
    assert_eq!(read.faults, []);
    let platform = "linux/amd64".parse().unwrap();
    let source = |n: usize| Source::choose(&read.entries[n].distribution, platform, None, false);
    let Ok(Source::Binary(binary)) = source(0) else { panic!("{:?}", source(0)) };
    assert_eq!(
        (binary.archive.as_str(), binary.cmd.as_str()),
        ("https://example.com/echo", "echo")
    );
    assert_eq!(binary.env.len(), 1);
    let Ok(Source::Npx(package)) = source(1) else { panic!("{:?}", source(1)) };
    assert_eq!(package.package, "@x/echo@1.0.0");
}

#[test]
fn what_is_chosen_fits_the_platform_and_is_pinned() {
    let entries = read(&official()).entries;
    let linux = "linux/amd64".parse().unwrap();
    let arm = "linux/arm64".parse().unwrap();
    let choose = |n: usize, platform| {
        Source::choose(&entries[n].distribution, platform, None, false).map(|s| s.kind())
    };
    assert_eq!(choose(0, linux), Ok(Kind::Binary));
    assert!(matches!(choose(0, arm), Err(NoSource::Platform { .. })));
    assert_eq!((choose(1, arm), choose(2, arm)), (Ok(Kind::Npx), Ok(Kind::Npx)));
    let uvx = Source::choose(&entries[2].distribution, arm, Some(Kind::Uvx), false).unwrap();
    assert_eq!(uvx.kind(), Kind::Uvx);
    let package = |text: &str| Distribution {
        npx: serde_json::from_value(json!({ "package": text })).unwrap(),
        ..Distribution::default()
    };
    let newest = package("x@latest");
    assert_eq!(
        Source::choose(&newest, linux, None, false),
        Err(NoSource::Unpinned("x@latest".to_owned()))
    );
    assert!(Source::choose(&newest, linux, None, true).is_ok());
}

#[test]
fn an_agent_keeps_its_versions_and_outlives_its_removal() {
    let at = Timestamp::from_millis;
    let version = |n: u32| {
        let entry = json!({ "id": "x", "name": "x", "version": format!("1.0.{n}"),
            "distribution": { "npx": { "package": format!("x@1.0.{n}") } } });
        Entry::parse(entry).unwrap()
    };
    let first = Listed::new(None, version(0), at(1));
    assert_eq!(first.seen(&version(0), at(2)), None);
    let mut listed = first;
    for n in 1..20 {
        listed = listed.seen(&version(n), at(2)).unwrap();
    }
    assert_eq!(listed.versions.len(), MAX_VERSIONS);
    assert_eq!(listed.latest(), Some(&version(19)));
    let gone = listed.gone(at(3)).unwrap();
    assert_eq!((gone.removed_at, gone.gone(at(4))), (Some(at(3)), None));
    assert_eq!(gone.entry(Some(&version(15).version)), Some(&version(15)));
    let back = gone.seen(&version(19), at(5)).unwrap();
    assert_eq!((back.removed_at, back.first_seen_at), (None, at(1)));
}

fn anything() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "id",
        "name",
        "version",
        "distribution",
        "binary",
        "npx",
        "uvx",
        "package",
        "cmd",
        "args",
        "env",
        "archive",
        "type",
        "linux-x86_64",
        "url",
        "sha256",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z@./-]{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("x@1.0.0")),
        Just(json!("https://x/y.tgz")),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    /// Whatever is between them, the entries that are right are read, and each of the rest is told.
    #[test]
    fn nothing_between_them_costs_entries_their_place(
        others in prop::collection::vec(anything(), 0..6), at in 0_usize..31,
    ) {
        let mut document = official();
        let agents = document["agents"].as_array_mut().unwrap();
        let count = others.len();
        agents.splice(at..at, others);
        let read = read(&document);
        prop_assert_eq!(read.entries.len() + read.faults.len(), 30 + count);
        prop_assert!(read.entries.len() >= 30);
        for entry in &read.entries {
            let again = Entry::parse(serde_json::to_value(entry).unwrap());
            prop_assert_eq!(again.as_ref(), Ok(entry), "what was read is written as it is read");
        }
    }

    #[test]
    fn no_bytes_whatever_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(parse(&bytes));
    }
}
