//! What is not let out, and who is not let in.

use std::net::SocketAddr;
use std::time::Duration;

use egress::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::given::{Egress, MANY, connected};

/// Sends bytes and reads what comes until the connection ends.
async fn raw(egress: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(egress).await.unwrap();
    // Who is not read to the end is answered all the same, or cut off.
    drop(stream.write_all(request.as_bytes()).await);
    let mut answer = Vec::new();
    drop(timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap());
    String::from_utf8(answer).unwrap()
}

fn problem(answer: &str) -> (&str, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let problem: Value = serde_json::from_str(body).unwrap();
    (head.split(' ').nth(1).unwrap(), problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn everything_else_is_denied() {
    let gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let upgrade = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let plain = "connection: close\r\n";
    for (line, headers) in [
        ("CONNECT example.com:443", plain),
        ("CONNECT 169.254.170.2:80", plain),
        ("GET http://example.com/", plain),
        ("GET http://169.254.169.254/latest/meta-data/", plain),
        ("GET http://egress/v1/shim", upgrade),
        ("GET ws://egress/v1/shim", upgrade),
        ("GET /", plain),
        ("GET /v1/stream", upgrade),
        ("GET /v1/shim", plain),
        ("POST /v1/shim", upgrade),
        ("GET /v1/shim/", upgrade),
        ("GET /v1/agents", plain),
        ("POST /healthz", plain),
        ("DELETE /v1/models", plain),
        ("OPTIONS *", plain),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: egress\r\n{headers}\r\n");
        let answer = raw(egress.address, &request).await;
        assert_eq!(problem(&answer), ("403", "egress_denied".to_owned()), "{line}");
    }
}

#[tokio::test]
async fn models_are_where_they_are_on_one_machine() {
    let gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let request = "GET /v1/models HTTP/1.1\r\nhost: egress\r\nconnection: close\r\n\r\n";
    let answer = raw(egress.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""id":"scripted""#), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let request = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(1 << 20));
    let answer = raw(egress.address, &request).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_unread() {
    for limits in [Limits { per_peer: 2, total: 100 }, Limits { per_peer: 100, total: 2 }] {
        let mut gateway = Gateway::start().await;
        let egress = Egress::start(&gateway.url(), limits).await;
        let (first, second) = (connected(egress.address).await, connected(egress.address).await);
        let mut callers = (gateway.caller().await, gateway.caller().await);
        let mut third = TcpStream::connect(egress.address).await.unwrap();
        let read = timeout(Duration::from_secs(10), third.read(&mut [0; 16])).await;
        assert_eq!(read.unwrap().unwrap(), 0);
        // Relays count for as long as they last.
        drop((first, second));
        assert_eq!(callers.0.hear().await, None);
        assert_eq!(callers.1.hear().await, None);
        connected(egress.address).await;
    }
}
