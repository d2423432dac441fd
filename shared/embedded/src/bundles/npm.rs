//! A bundle of an npm package with all it depends on, installed by this machine's npm.
//!
//! What holds here: first npm decides what belongs to it and writes that down; that list is read, and
//! everything on it must come from the configured registry and have a SHA-512, the package itself the
//! one that is pinned; then that is installed, and npm compares each with its hash. Scripts of
//! packages are not run. Some packages have one put their program in place, out of the package that is
//! made for the platform: there it is started from where it lies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use app::ports::MakeError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::program::run;
use super::{Config, Raw, Staging, passing};

pub(super) async fn make(
    config: &Config,
    staging: &Staging,
    name: &str,
    version: &str,
    integrity: &str,
    cmd: Option<&str>,
) -> Result<Raw, MakeError> {
    let tree = staging.tree();
    let project = json!({
        "name": "bundle", "version": "0.0.0", "private": true, "dependencies": { name: version },
    });
    fs::write(tree.join("package.json"), project.to_string()).map_err(passing)?;
    let cache = staging.dir.join("cache");
    // Two files that are not there: what somebody configured for themselves says nothing here.
    let (user, global) = (cache.join("user"), cache.join("global"));
    let (user, global) = (user.to_string_lossy(), global.to_string_lossy());
    let cache = cache.to_string_lossy();
    let registry = format!("{}/", config.npm);
    let env = [
        ("npm_config_registry", registry.as_str()),
        ("npm_config_cache", &cache),
        ("npm_config_userconfig", &user),
        ("npm_config_globalconfig", &global),
        ("npm_config_ignore_scripts", "true"),
        ("npm_config_audit", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_update_notifier", "false"),
        ("npm_config_omit", "dev"),
        ("npm_config_fetch_retries", "1"),
        ("HOME", &cache),
    ];
    run(config, &tree, "npm", &["install", "--package-lock-only"], &env).await?;
    let lock = fs::read(tree.join("package-lock.json")).map_err(passing)?;
    check(&lock, &registry, name, version, integrity)?;
    // Not `ci`: it wants what is optional for other platforms, too, also what the registry does not have.
    run(config, &tree, "npm", &["install"], &env).await?;
    let lock = fs::read(tree.join("package-lock.json")).map_err(passing)?;
    check(&lock, &registry, name, version, integrity)?;
    let manifest = fs::read(tree.join("node_modules").join(name).join("package.json"));
    let manifest = manifest.map_err(|_| {
        MakeError::failed("install_failed", format!("npm installed no {name} for this platform"))
    })?;
    let program = program(&manifest, name, cmd)?;
    let place = place(&tree, &manifest, name, &program)?;
    Ok(Raw { entrypoint: vec![format!("{{bundle}}/{place}")], env: BTreeMap::new() })
}

/// Where in the tree the program of a package is: the one the package names, or, where that is only what
/// a script would replace, the one in a package of its own for this platform.
fn place(tree: &Path, manifest: &[u8], name: &str, program: &str) -> Result<String, MakeError> {
    let named = format!("node_modules/.bin/{program}");
    if starts(&tree.join(&named)) {
        return Ok(named);
    }
    let manifest: Value = serde_json::from_slice(manifest).map_err(passing)?;
    let optional = manifest["optionalDependencies"].as_object();
    let mut places = optional.into_iter().flat_map(serde_json::Map::keys).flat_map(|dependency| {
        let within = |modules: String| format!("{modules}/{dependency}/bin/{program}");
        [within("node_modules".to_owned()), within(format!("node_modules/{name}/node_modules"))]
    });
    places.find(|place| starts(&tree.join(place))).ok_or_else(|| {
        let detail = if tree.join(&named).exists() {
            format!("the command {program} of {name} is nothing that can be started as it is")
        } else {
            format!("{name} has no command {program}")
        };
        MakeError::failed("no_command", detail)
    })
}

/// Whether the kernel can start a file: a program of its own, or a script that names its interpreter.
fn starts(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && (head == *b"\x7fELF" || head.starts_with(b"#!"))
}

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Locked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Locked {
    version: String,
    resolved: String,
    integrity: String,
    link: bool,
    in_bundle: bool,
}

/// Whether what npm decided on is what may be installed.
fn check(
    lock: &[u8],
    registry: &str,
    name: &str,
    version: &str,
    integrity: &str,
) -> Result<(), MakeError> {
    let lock: Lock = serde_json::from_slice(lock).map_err(passing)?;
    for (path, locked) in lock.packages.iter().filter(|(path, _)| !path.is_empty()) {
        if locked.in_bundle {
            // It comes in the package that it is listed below, and is hashed with it.
            continue;
        }
        if locked.link || !locked.resolved.starts_with(registry) {
            let detail =
                format!("{path} does not come from {registry} but from {:.200}", locked.resolved);
            return Err(MakeError::failed("forbidden_address", detail));
        }
        if !locked.integrity.split(' ').any(|hash| hash.starts_with("sha512-")) {
            return Err(MakeError::failed("install_failed", format!("{path} has no SHA-512")));
        }
    }
    let own = lock.packages.get(&format!("node_modules/{name}"));
    let same = own.is_some_and(|own| {
        own.version == version && own.integrity.split(' ').any(|hash| hash == integrity)
    });
    if same {
        Ok(())
    } else {
        let now = own.map_or("nothing", |own| own.integrity.as_str());
        let detail =
            format!("{name}@{version} is {now} now, and was {integrity} when it was pinned");
        Err(MakeError::failed("digest_mismatch", detail))
    }
}

/// The command of a package: the one that is asked for, its only one, or the one of its own name.
fn program(manifest: &[u8], name: &str, cmd: Option<&str>) -> Result<String, MakeError> {
    let manifest: Value = serde_json::from_slice(manifest).map_err(passing)?;
    let own = name.rsplit('/').next().unwrap_or(name);
    let named: Vec<&str> = match &manifest["bin"] {
        Value::String(_) => vec![own],
        Value::Object(programs) => programs.keys().map(String::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Vec::new(),
    };
    let wanted = cmd.map(|cmd| cmd.trim_start_matches("./"));
    let found = match (wanted, named.as_slice()) {
        (Some(wanted), named) => named.iter().find(|program| **program == wanted),
        (None, [only]) => Some(only),
        (None, named) => named.iter().find(|program| **program == own),
    };
    match found {
        Some(program) if !program.contains('/') && !program.starts_with('.') => {
            Ok((*program).to_owned())
        }
        _ => {
            let asked = wanted.unwrap_or(own);
            let detail = format!("{name} has no command {asked}; it has: {}", named.join(", "));
            Err(MakeError::failed("no_command", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_npm_decides_on_is_checked() {
        let lock = |package: Value| {
            let own = json!({ "version": "1.0.0", "resolved": "http://r/x.tgz", "integrity": "sha512-a" });
            let lock =
                json!({ "packages": { "": {}, "node_modules/x": own, "node_modules/y": package } });
            check(lock.to_string().as_bytes(), "http://r/", "x", "1.0.0", "sha512-a")
        };
        let good =
            json!({ "version": "1.0.0", "resolved": "http://r/y.tgz", "integrity": "sha512-b" });
        assert!(lock(good.clone()).is_ok());
        for (field, value) in [
            ("resolved", json!("git+ssh://git@example.com/y.git")),
            ("resolved", json!("http://169.254.169.254/y.tgz")),
            ("integrity", json!("sha1-b")),
            ("integrity", json!("")),
            ("link", json!(true)),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(lock(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_package_s_command_is_found() {
        let program = |bin: Value, cmd| {
            program(json!({ "bin": bin }).to_string().as_bytes(), "@a/x", cmd).ok()
        };
        assert_eq!(program(json!("cli.js"), None).as_deref(), Some("x"));
        assert_eq!(program(json!({ "y": "cli.js" }), None).as_deref(), Some("y"));
        assert_eq!(program(json!({ "x": "a", "y": "b" }), None).as_deref(), Some("x"));
        assert_eq!(program(json!({ "x": "a", "y": "b" }), Some("y")).as_deref(), Some("y"));
        assert_eq!(program(json!({ "y": "a", "z": "b" }), None), None);
        assert_eq!(program(json!({ "../y": "a" }), None), None);
        assert_eq!(program(Value::Null, None), None);
    }

    #[test]
    fn a_program_that_a_script_would_put_in_place_is_started_where_it_lies() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, held: &[u8]| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, held).unwrap();
        };
        let manifest = json!({ "optionalDependencies": { "x-linux": "1", "x-other": "1" } });
        let manifest = manifest.to_string();
        let place = || place(tree.path(), manifest.as_bytes(), "x", "x").ok();
        assert_eq!(place(), None);
        put("node_modules/.bin/x", b"echo run the script first");
        assert_eq!(place(), None);
        put("node_modules/x-other/bin/x", b"\x7fELF...");
        assert_eq!(place().as_deref(), Some("node_modules/x-other/bin/x"));
        put("node_modules/x/node_modules/x-linux/bin/x", b"\x7fELF...");
        let nested = "node_modules/x/node_modules/x-linux/bin/x";
        assert_eq!(place().as_deref(), Some(nested));
        put("node_modules/.bin/x", b"#!/usr/bin/env node");
        assert_eq!(place().as_deref(), Some("node_modules/.bin/x"));
    }
}
