//! The arrows between the crates, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// What a crate of ours may use of ours. What is not here is an arrow that nobody drew.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("disk", &["domain"]),
    ("wire", &["domain"]),
    ("store", &["domain"]),
    ("app", &["domain", "store", "wire"]),
    ("api", &["wire"]),
    ("gate", &["api", "app", "domain", "wire"]),
    ("embedded", &["app", "disk", "domain", "store", "wire"]),
    ("aws", &["app", "domain", "store", "wire"]),
    ("host", &["app", "domain"]),
    ("shim", &["disk", "domain", "wire"]),
    ("egress", &["domain", "wire"]),
];

/// What every area under `functions/` may use of ours.
const AREA: &[&str] = &["api", "app", "domain", "gate", "wire"];

/// These put everything together. Nobody uses them.
const ROOTS: &[&str] = &["lambda", "reeve", "tests", "xtask"];

/// The list of all routes: uses every area and is used by the roots only.
const ROUTES: &str = "routes";

/// The crates of the field that `domain` may use: no I/O, no clock, no async.
const DOMAIN: &[&str] =
    &["hex", "jiff", "jsonschema", "schemars", "serde", "serde_json", "strum", "thiserror", "ulid"];

/// What `app` must not reach, not even through others: it names no platform and no protocol.
const NO_PLATFORM: &[&str] = &["axum", "http", "hyper", "reqwest", "rusqlite", "rustix", "tokio"];

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    // Only what is built here: the rest was never fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--offline", "--filter-platform", &platform];
    command.other_options(options.map(str::to_owned));
    command.exec().expect("cargo describes the workspace")
}

/// What a package uses, by name, leaving its tests aside.
fn uses(package: &Package) -> BTreeSet<&str> {
    let used = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    used.map(|d| d.name.as_str()).collect()
}

fn is_area(package: &Package) -> bool {
    let path = package.manifest_path.as_str();
    path.contains("/functions/") && !["gate", ROUTES].contains(&package.name.as_str())
}

/// Every package that `root` is built from, with default features.
fn built_from<'a>(metadata: &'a Metadata, root: &str) -> BTreeSet<&'a str> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let named = |id: &PackageId| metadata[id].name.as_str();
    let root = metadata.workspace_packages().into_iter().find(|package| package.name == root);
    let (mut seen, mut next) = (BTreeSet::new(), vec![&root.expect("a crate of ours").id]);
    while let Some(id) = next.pop() {
        let shipped = nodes[id].deps.iter().filter(|dep| {
            dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
        });
        next.extend(shipped.map(|dep| &dep.pkg).filter(|id| seen.insert(named(id))));
    }
    seen
}

#[test]
fn every_arrow_was_drawn() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let areas = packages.iter().filter(|package| is_area(package));
    let areas: BTreeSet<&str> = areas.map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        let may: BTreeSet<&str> = if ROOTS.contains(&name) {
            ours.iter().copied().filter(|other| !ROOTS.contains(other)).collect()
        } else if name == ROUTES {
            areas.iter().copied().chain(AREA.iter().copied()).collect()
        } else if areas.contains(name) {
            AREA.iter().copied().collect()
        } else if let Some((_, may)) = ARROWS.iter().find(|(from, _)| *from == name) {
            may.iter().copied().collect()
        } else {
            wrong.push(format!("{name} has no place in ARROWS"));
            continue;
        };
        let does: BTreeSet<&str> = uses(package).intersection(&ours).copied().collect();
        wrong.extend(does.difference(&may).map(|other| format!("{name} -> {other}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_drawn_crate_exists() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let drawn = ARROWS.iter().flat_map(|(from, to)| to.iter().chain([from])).chain(ROOTS);
    let gone: BTreeSet<_> = drawn.filter(|name| !ours.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn domain_needs_little() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let domain = packages.iter().find(|package| package.name == "domain").expect("domain");
    let may: BTreeSet<&str> = DOMAIN.iter().copied().collect();
    let more: Vec<_> = uses(domain).difference(&may).copied().map(str::to_owned).collect();
    assert!(more.is_empty(), "domain is pure rules; it needs no {more:?}");
}

#[test]
fn app_names_no_platform() {
    let metadata = metadata();
    let app = built_from(&metadata, "app");
    let named: Vec<_> = NO_PLATFORM.iter().filter(|name| app.contains(*name)).collect();
    assert!(named.is_empty(), "app reaches {named:?}");
}

#[test]
fn reeve_is_built_without_aws() {
    let metadata = metadata();
    let reeve = built_from(&metadata, "reeve");
    let aws: Vec<_> = reeve
        .iter()
        .filter(|name| **name == "aws" || name.starts_with("aws-") || name.starts_with("lambda"))
        .collect();
    assert!(aws.is_empty(), "`cargo run` compiles {aws:?}");
}

#[test]
fn only_embedded_reaches_sqlite() {
    let metadata = metadata();
    let direct = metadata.packages.iter().filter(|package| uses(package).contains("rusqlite"));
    let direct: Vec<_> = direct.map(|package| package.name.as_str()).collect();
    assert_eq!(direct, ["embedded"]);
}
