//! The one command of an operator: what it calls, in which order and with what. The account is
//! emulated; cargo, docker and sam only write down how they were called. With the real ones
//! `tests/aws/up` runs it, but for what it builds and pushes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tests::emulator::Emulator;

use super::{root, run, tool};

/// Takes the place of a program: writes down its arguments, and does as much as whoever calls it needs.
fn stub(dir: &Path, name: &str, more: &str) {
    let path = dir.join(name);
    let script = format!("#!/bin/sh\necho \"{name} $*\" >>'{}/calls'\n{more}\n", dir.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

const LEAVE_WHAT_WAS_BUILT: &str = r#"
while [ $# -gt 0 ]; do
  case $1 in --target-dir) dir=$2 ;; --target) target=$2 ;; --bin) bin=$2 ;; esac
  shift
done
[ -z "$dir" ] || { mkdir -p "$dir/$target/shim" && : >"$dir/$target/shim/$bin"; }"#;

fn deploy(stubs: &TempDir, emulator: &Emulator, arguments: &[&str]) -> Vec<String> {
    let dir = stubs.path();
    std::fs::remove_file(dir.join("calls")).ok();
    std::fs::write(dir.join("roots"), "whom to trust").unwrap();
    let mut python = tool("aws", "python3");
    let path = std::env::var_os("PATH").unwrap();
    python
        .arg(root().join("infra/aws/deploy"))
        .args(arguments)
        .env("PATH", format!("{}:{}", dir.display(), path.display()))
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("SSL_CERT_FILE", dir.join("roots"))
        .env("AWS_ENDPOINT_URL", emulator.endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    run(python);
    let calls = std::fs::read_to_string(dir.join("calls")).unwrap();
    calls.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn one_command_builds_pushes_and_deploys() {
    let emulator = Emulator::start_own().await;
    let stubs = tempfile::tempdir().unwrap();
    stub(stubs.path(), "cargo", LEAVE_WHAT_WAS_BUILT);
    stub(stubs.path(), "docker", "[ \"$1\" != login ] || cat >/dev/null");
    stub(stubs.path(), "sam", "");
    let calls = deploy(&stubs, &emulator, &["--guided"]);
    let registry = "000000000000.dkr.ecr.us-east-1.amazonaws.com";
    let all = calls.join("\n");
    assert_eq!(
        calls[0],
        "cargo lambda build --package lambda --profile function --output-format zip --arm64"
    );
    let login = format!("docker login --username AWS --password-stdin {registry}");
    assert_eq!(calls[1], login, "{all}");
    let pushed: Vec<_> =
        calls.iter().filter_map(|call| call.strip_prefix("docker push ")).collect();
    let [agent, egress] = pushed[..] else { panic!("{all}") };
    assert!(agent.starts_with(&format!("{registry}/reeve-shim:")), "{agent}");
    assert!(egress.starts_with(&format!("{registry}/reeve-egress:")), "{egress}");
    for built in ["cargo build", "docker build"] {
        assert_eq!(calls.iter().filter(|call| call.starts_with(built)).count(), 2, "{all}");
    }
    assert!(all.contains("--target aarch64-unknown-linux-gnu"), "{all}");
    let own = format!("Architecture=arm64 AgentImage={agent} EgressImage={egress}");
    let deployed = format!(
        "sam deploy --config-env default --guided --parameter-overrides Stage=default {own}"
    );
    assert_eq!(*calls.last().unwrap(), deployed);

    // Again, in another environment; what is said here is said last.
    let again = ["--config-env", "production", "--architecture", "x86_64"];
    let more = ["--parameter-overrides", "MonthlyBudget=500"];
    let calls = deploy(&stubs, &emulator, &[&again[..], &more].concat());
    assert!(!calls[0].contains("arm64"), "{}", calls[0]);
    let deployed = calls.last().unwrap();
    let kept = "--parameter-overrides Stage=production EgressCount=2 Architecture=x86_64 ";
    assert!(deployed.contains(kept) && deployed.ends_with(" MonthlyBudget=500"), "{deployed}");
}

#[test]
fn it_is_the_command_of_the_readme_and_of_the_tests() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("\ninfra/aws/deploy --guided"));
    let others =
        readme.lines().filter(|line| line.starts_with("sam ") || line.starts_with("cargo lambda"));
    assert_eq!(others.count(), 0, "nothing else is to be called by hand");
    let up = std::fs::read_to_string(root().join("tests/aws/account.py")).unwrap();
    assert!(up.contains("infra/aws/deploy"));
}
