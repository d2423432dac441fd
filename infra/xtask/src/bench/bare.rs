//! The least that could answer: one axum route that returns the same bytes.

use std::io::Write;
use std::path::PathBuf;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use clap::Args;
use tokio::net::TcpListener;

use super::Result;

/// What to return.
#[derive(Debug, Args)]
pub(crate) struct Bare {
    /// The file with the bytes.
    body: PathBuf,
}

/// Serves until it is killed, with the runtime that reeve has. Says its address in a line.
pub(crate) fn serve(bare: &Bare) -> Result<()> {
    let body = Bytes::from(std::fs::read(&bare.body)?);
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let router = Router::new().route("/v1/agents/{agentId}", get(answer));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        Ok(axum::serve(listener, router).await?)
    })
}
