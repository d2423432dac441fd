//! Requests on many connections, one in flight on each, as many as there is time for.
//!
//! A process of its own that does as little as it can: it sends the same bytes again and again and of
//! an answer reads its status, its length and its end. What it costs is the same for whoever answers.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Result;

/// What to ask, and how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Whom.
    address: SocketAddr,
    /// What.
    path: String,
    /// Who asks.
    key: String,
    /// How many connections.
    connections: usize,
    /// For how long.
    milliseconds: u64,
}

/// Sends, and says how many requests were answered in a second.
pub(crate) fn send(load: &Load) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rate = runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..load.connections {
            let stream = TcpStream::connect(load.address).await?;
            stream.set_nodelay(true)?;
            open.push(stream);
        }
        let started = Instant::now();
        let end = started + Duration::from_millis(load.milliseconds);
        let mut asking = JoinSet::new();
        for stream in open {
            asking.spawn(ask(stream, load.clone(), end));
        }
        let mut answered = 0.0;
        while let Some(done) = asking.join_next().await {
            answered += done??;
        }
        Ok::<_, super::Error>(answered / started.elapsed().as_secs_f64())
    })?;
    writeln!(std::io::stdout(), "{rate}")?;
    Ok(())
}

/// Asks until `end`. How often it was answered.
async fn ask(mut stream: TcpStream, load: Load, end: Instant) -> Result<f64> {
    let Load { address, path, key, .. } = load;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\naccept: application/json\r\n\r\n"
    );
    let mut buffer = vec![0; 64 * 1024];
    let mut answered = 0.0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await?;
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|whole| filled < whole) {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err("a connection was closed".into());
            }
            filled += read;
            if whole.is_none() {
                whole = length(&buffer[..filled])?;
            }
        }
        answered += 1.0;
    }
    Ok(answered)
}

/// The length of the whole answer, once its head is there.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(text.to_owned().into());
    }
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(Some(head + 4 + body.ok_or("an answer has a length")?.parse::<usize>()?))
}
