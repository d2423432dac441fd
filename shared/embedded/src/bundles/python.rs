//! A bundle of a `PyPI` package with all it depends on, installed by this machine's pip.
//!
//! What holds here: first pip decides what belongs to it and reports that with hashes, the package's
//! own among those that are pinned; then exactly that is installed, each compared with its hash. Only
//! wheels: nothing is built, so nothing of a package is run. What it starts with is not the script that
//! pip writes, which names this machine's Python, but the function that script calls.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use app::ports::MakeError;
use domain::Digest;
use serde::Deserialize;

use super::program::run;
use super::{Config, Raw, Staging, passing};

#[derive(Deserialize)]
struct Report {
    install: Vec<Install>,
}

#[derive(Deserialize)]
struct Install {
    metadata: Metadata,
    download_info: Download,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    #[serde(default)]
    archive_info: Archive,
}

#[derive(Default, Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

pub(super) async fn make(
    config: &Config,
    staging: &Staging,
    name: &str,
    version: &str,
    sha256: &[Digest],
    cmd: Option<&str>,
) -> Result<Raw, MakeError> {
    let index = format!("{}/simple/", config.pypi);
    let host = config.pypi.split("//").nth(1).unwrap_or_default();
    let env = [("PIP_CONFIG_FILE", "/dev/null"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")];
    let pip = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["-m", "pip", "--isolated", "install", "--no-cache-dir", "--no-input"];
        all.extend(["--ignore-installed", "--only-binary=:all:", "--index-url", &index]);
        if index.starts_with("http://") {
            all.extend(["--trusted-host", host]);
        }
        all.extend(args);
        all.into_iter().map(str::to_owned).collect()
    };
    let wanted = format!("{name}=={version}");
    let decide = pip(&["--quiet", "--dry-run", "--report", "report.json", &wanted]);
    let decide: Vec<&str> = decide.iter().map(String::as_str).collect();
    run(config, &staging.dir, "python3", &decide, &env).await?;
    let report = fs::read(staging.dir.join("report.json")).map_err(passing)?;
    let report: Report = serde_json::from_slice(&report).map_err(passing)?;
    let list = pinned(&report, name, version, sha256)?;
    fs::write(staging.dir.join("requirements.txt"), list).map_err(passing)?;
    let site = staging.tree().join("site");
    let target = site.to_string_lossy();
    let install = pip(&[
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--require-hashes",
        "--target",
        &target,
        "-r",
        "requirements.txt",
    ]);
    let install: Vec<&str> = install.iter().map(String::as_str).collect();
    run(config, &staging.dir, "python3", &install, &env).await?;
    let points = entry_points(&site, name).map_err(passing)?;
    let (module, function) = find(&points, name, cmd)?;
    let root = function.split('.').next().unwrap_or_default();
    let start = format!("import sys; from {module} import {root}; sys.exit({function}())");
    // It names this machine's Python.
    drop(fs::remove_dir_all(site.join("bin")));
    let env = BTreeMap::from([
        ("PYTHONPATH".to_owned(), "{bundle}/site".to_owned()),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
    ]);
    Ok(Raw { entrypoint: ["/usr/bin/env", "python3", "-c", &start].map(str::to_owned).into(), env })
}

/// What pip decided on, each with its hash, if the package is the one that is pinned.
fn pinned(
    report: &Report,
    name: &str,
    version: &str,
    sha256: &[Digest],
) -> Result<String, MakeError> {
    let (mut list, mut own) = (String::new(), None);
    for Install { metadata, download_info } in &report.install {
        let hash = download_info.archive_info.hashes.get("sha256");
        let Some(hash) = hash.and_then(|hash| Digest::from_hex(hash).ok()) else {
            let detail = format!("{} has no SHA-256", metadata.name);
            return Err(MakeError::failed("install_failed", detail));
        };
        if spelled(&metadata.name) == name && metadata.version == version {
            own = Some(hash);
        }
        let _ =
            writeln!(list, "{}=={} --hash=sha256:{}", metadata.name, metadata.version, hash.hex());
    }
    match own {
        Some(own) if sha256.contains(&own) => Ok(list),
        _ => {
            let detail = format!("{name} {version} is not among the files that were pinned");
            Err(MakeError::failed("digest_mismatch", detail))
        }
    }
}

fn spelled(name: &str) -> String {
    domain::registry::package::pypi(name).map_or_else(|_| name.to_owned(), |(name, _)| name)
}

/// The console scripts of a package: name, module and function.
fn entry_points(
    site: &std::path::Path,
    name: &str,
) -> std::io::Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(site)? {
        let entry = entry?;
        let dist = entry.file_name().to_string_lossy().into_owned();
        let Some(dist) = dist.strip_suffix(".dist-info").and_then(|dist| dist.split('-').next())
        else {
            continue;
        };
        if spelled(dist) != name {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path().join("entry_points.txt")) else { continue };
        let mut console = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                console = line == "[console_scripts]";
            } else if console
                && let Some((script, place)) = line.split_once('=')
                && let Some((module, function)) =
                    place.split('[').next().unwrap_or_default().split_once(':')
            {
                found.push((
                    script.trim().to_owned(),
                    module.trim().to_owned(),
                    function.trim().to_owned(),
                ));
            }
        }
    }
    Ok(found)
}

fn find(
    points: &[(String, String, String)],
    name: &str,
    cmd: Option<&str>,
) -> Result<(String, String), MakeError> {
    let found = match (cmd, points) {
        (Some(cmd), points) => points.iter().find(|(script, ..)| script == cmd),
        (None, [only]) => Some(only),
        (None, points) => points.iter().find(|(script, ..)| spelled(script) == name),
    };
    let word = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
    };
    match found {
        Some((_, module, function)) if word(module) && word(function) => {
            Ok((module.clone(), function.clone()))
        }
        _ => {
            let scripts: Vec<&str> = points.iter().map(|(script, ..)| script.as_str()).collect();
            let detail = format!(
                "{name} has no command {}; it has: {}",
                cmd.unwrap_or(name),
                scripts.join(", ")
            );
            Err(MakeError::failed("no_command", detail))
        }
    }
}
