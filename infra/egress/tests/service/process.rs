//! The program itself: its flags, its signals, its TLS, what it logs.

use std::path::Path;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::tungstenite::Error;

use crate::gateway::Gateway;
use crate::given::{TOKEN, connected, end, shim};

struct Program {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    address: std::net::SocketAddr,
}

impl Program {
    async fn start(control: &str, roots: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_egress"));
        command
            .env_clear()
            .env("REEVE_LISTEN", "127.0.0.1:0")
            .env("REEVE_CONTROL", control)
            .env("REEVE_SCRIPTED", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(roots) = roots {
            command.env("SSL_CERT_FILE", roots);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = said(&mut log, "ready").await;
        let address = ready["fields"]["listen"].as_str().unwrap().parse().unwrap();
        Self { child, log, address }
    }

    async fn check(port: u16) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_egress"));
        command.env_clear().arg("--check").args(["--listen", &format!("0.0.0.0:{port}")]);
        command.status().await.unwrap().success()
    }
}

/// The first line of the log, from here on, that says `message`.
async fn said(log: &mut Lines<BufReader<ChildStdout>>, message: &str) -> Value {
    loop {
        let line = log.next_line().await.unwrap().expect("it runs");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["fields"]["message"] == message {
            return line;
        }
    }
}

#[tokio::test]
async fn it_serves_says_that_it_is_well_and_parts_at_a_signal() {
    let mut gateway = Gateway::start().await;
    let mut program = Program::start(&gateway.url(), None).await;
    assert!(Program::check(program.address.port()).await);
    let mut shim = connected(program.address).await;
    let mut caller = gateway.caller().await;
    let pid = Pid::from_raw(i32::try_from(program.child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(end(&mut shim).await, Some(1001));
    assert_eq!(caller.hear().await, None);
    assert!(program.child.wait().await.unwrap().success());
    assert!(!Program::check(program.address.port()).await);
}

#[tokio::test]
async fn a_denial_is_one_line_of_the_log() {
    let gateway = Gateway::start().await;
    let mut program = Program::start(&gateway.url(), None).await;
    let wrong = format!("ws://{}/v1/elsewhere?secret=1", program.address);
    let stream = tokio::net::TcpStream::connect(program.address).await.unwrap();
    let denied = tokio_tungstenite::client_async(wrong, stream).await.unwrap_err();
    assert!(matches!(denied, Error::Http(answer) if answer.status() == 403));
    let line = said(&mut program.log, "denied").await;
    assert_eq!(line["fields"]["event"], "egress_denied");
    assert_eq!(line["fields"]["method"], "GET");
    let target = format!("{}/v1/elsewhere", program.address);
    assert_eq!(line["fields"]["target"], target, "and no query");
    assert!(line["span"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_control_plane_is_believed_when_an_authority_vouches_for_it() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["control.localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let mut gateway = Gateway::with(Some(server)).await;
    let directory = tempfile::tempdir().unwrap();
    let (roots, others) = (directory.path().join("roots.pem"), directory.path().join("others.pem"));
    std::fs::write(&roots, authority.pem()).unwrap();
    let stranger = CertificateParams::new(Vec::new()).unwrap();
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&others, stranger.pem()).unwrap();

    let port = gateway.address.port();
    let trusting =
        Program::start(&format!("wss://control.localhost:{port}/v1"), Some(&roots)).await;
    let _shim = connected(trusting.address).await;
    assert_eq!(gateway.caller().await.path, "/v1");
    for (host, roots) in [("control.localhost", &others), ("other.localhost", &roots)] {
        let doubting = Program::start(&format!("wss://{host}:{port}/v1"), Some(roots)).await;
        let refused = shim(doubting.address, Some(TOKEN)).await;
        assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 502), "{host}");
    }
}

#[tokio::test]
async fn it_does_not_start_without_knowing_where_the_control_plane_is() {
    for control in [None, Some("https://example.com"), Some("ws://a:b@example.com/v1")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_egress"));
        command.env_clear().env("REEVE_LISTEN", "127.0.0.1:0").stdout(Stdio::null());
        command.stderr(Stdio::null());
        if let Some(control) = control {
            command.env("REEVE_CONTROL", control);
        }
        assert!(!command.status().await.unwrap().success(), "{control:?}");
    }
}
