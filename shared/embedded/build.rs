//! Builds the shim as a static binary and hands it to `src/sandbox/binary.rs`, which carries it.
//!
//! It is built into a target directory of its own: this script runs under the lock of the other one.
//! It runs for `check` and `clippy`, too, where cargo tells it nothing that could let it stop short;
//! what is fresh costs an inner cargo that finds nothing to do.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::process::Command;

/// It is started for every container and kept by every release.
const MOST_BYTES: usize = 10 << 20;

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    for part in ["shim", "shared/wire", "shared/domain"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).join("src").display());
        println!("cargo::rerun-if-changed={}", workspace.join(part).join("Cargo.toml").display());
    }
    for part in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }

    let target = variable("TARGET");
    let release = variable("PROFILE") == "release";
    // <target directory>/<profile>/build/<package>/out, whatever set the target directory.
    let targets = out.ancestors().nth(4).expect("OUT_DIR lies in a target directory");
    let targets = targets.join("static").join(if release { "release" } else { "debug" });
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(&workspace)
        .args(["build", "--locked", "--package", "shim", "--profile", "shim"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&targets)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        // Flags and wrappers meant for this build, not for that one: clippy's, coverage's.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if !release {
        // The same program, built again in seconds.
        cargo
            .env("CARGO_PROFILE_SHIM_LTO", "off")
            .env("CARGO_PROFILE_SHIM_INCREMENTAL", "true")
            .env("CARGO_PROFILE_SHIM_CODEGEN_UNITS", "16");
    }
    let built = cargo.status().expect("cargo can be started").success();
    let path = targets.join(&target).join("shim").join("shim");
    if !built && !release && path.exists() {
        // Work on the shim does not stop work on the rest.
        println!("cargo::warning=the shim does not build: the last one that did is embedded");
    } else {
        assert!(built, "the shim does not build");
    }

    let shim = fs::read(&path).expect("the shim is built");
    assert!(shim.len() < MOST_BYTES, "the shim has {} bytes, {MOST_BYTES} are allowed", shim.len());
    let embedded = out.join("shim");
    fs::write(&embedded, &shim).expect("OUT_DIR is writable");
    // Only a name for the file: whoever uses it compares the content.
    let mut hash = DefaultHasher::new();
    hash.write(&shim);
    println!("cargo::rustc-env=SHIM={}", embedded.display());
    println!("cargo::rustc-env=SHIM_HASH={:016x}", hash.finish());
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"))
}
