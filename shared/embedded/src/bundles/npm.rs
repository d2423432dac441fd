//! A bundle of an npm package with all it depends on, installed by this machine's npm.
//!
//! What holds here: first npm decides what belongs to it and writes that down; that list is read, and
//! everything on it must come from the configured registry and have a SHA-512, the package itself the
//! one that is pinned; then exactly that is installed, and npm compares each with its hash. Scripts of
//! packages are not run.

use std::collections::BTreeMap;
use std::fs;

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
    run(config, &tree, "npm", &["ci"], &env).await?;
    let manifest = fs::read(tree.join("node_modules").join(name).join("package.json"));
    let manifest = manifest.map_err(|_| {
        MakeError::failed("install_failed", format!("npm installed no {name} for this platform"))
    })?;
    let program = program(&manifest, name, cmd)?;
    if !tree.join("node_modules/.bin").join(&program).exists() {
        let detail = format!("{name} has no command {program}");
        return Err(MakeError::failed("no_command", detail));
    }
    let entrypoint = vec![format!("{{bundle}}/node_modules/.bin/{program}")];
    Ok(Raw { entrypoint, env: BTreeMap::new() })
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
}
