//! What the `reeve` binary is to sandboxes: `keeper sandbox <document>` supervises one. And what is
//! killed in the middle: `keeper keep <data> <shim>` starts one, says where it is, and waits.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use app::ports::Compute;
use domain::limits::Limits;
use embedded::sandbox::{Config, Sandbox, supervise};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "sandbox", document] => {
            ExitCode::from(u8::try_from(supervise(Path::new(document))).unwrap_or(1))
        }
        [_, "keep", data, shim] => keep(data, shim),
        _ => ExitCode::from(2),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn keep(data: &str, shim: &str) -> ExitCode {
    let plan = tests::compute::plan();
    say(&format!("plan {}", plan.container));
    let sandbox = Sandbox::new(Config {
        data: PathBuf::from(data),
        repositories: BTreeMap::new(),
        helper: std::env::current_exe().expect("a program knows its path"),
        shim: Some(PathBuf::from(shim)),
        orphan_seconds: 60,
        limits: Limits::default(),
        before_start: Arc::new(|_, _| {
            say("listening");
            Ok(())
        }),
        after_end: Arc::new(|_| {}),
        on_exit: Arc::new(|_| {}),
    });
    let sandbox = sandbox.expect("a data directory can be used");
    sandbox.provision(&plan).await.expect("sandboxes work here");
    say("started");
    // Until it is killed.
    std::future::pending().await
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test listens");
}
