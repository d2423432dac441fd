//! What all that every request goes through costs: one agent, read as often as possible, beside a
//! bare route that returns the same bytes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::figure::{Figure, Target, median, note};
use super::reeve::{Reeve, cpu};
use super::{Here, Result};

/// How often each is asked, in turns; on how many connections; how long.
const ROUNDS: usize = 9;
const CONNECTIONS: usize = 32;
const MILLISECONDS: u64 = 1500;

/// Asks both in turns.
pub(crate) async fn measure(here: &Here) -> Result<Vec<Figure>> {
    let reeve = Reeve::start(&here.reeve(), &here.data("get"))?;
    let mut client = reeve.client().await?;
    let path = format!("/v1/agents/{}", client.agent("is read").await?);
    let body = client.read(&path).await?;
    let file = here.data("get.json");
    std::fs::write(&file, &body)?;
    let bare = Bare::start(here, &file)?;
    let load = |address: SocketAddr, milliseconds: u64| -> Result<f64> {
        let asked = Command::new(here.release.join("xtask"))
            .args(["bench-load", &address.to_string(), &path, &reeve.key])
            .args([CONNECTIONS.to_string(), milliseconds.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        let said = String::from_utf8(asked.stdout)?;
        Ok(said.trim().parse().map_err(|_| "the load was refused")?)
    };
    for address in [reeve.address, bare.address] {
        load(address, 300)?;
    }
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ours_cost, mut theirs_cost) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = reeve.cpu()?;
        let our = load(reeve.address, MILLISECONDS)?;
        ours_cost
            .push((reeve.cpu()? - before) * 1e9 / (our * super::time::millis_of(MILLISECONDS)));
        let before = cpu(bare.child.id())?;
        let their = load(bare.address, MILLISECONDS)?;
        theirs_cost.push(
            (cpu(bare.child.id())? - before) * 1e9 / (their * super::time::millis_of(MILLISECONDS)),
        );
        note(&format!("get: {our:.0}/s, bare {their:.0}/s"));
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    Ok(vec![
        Figure::new(
            "GET one agent, as a part of a bare axum route",
            "",
            Target::AtLeast(0.4),
            median(&ratios),
            format!(
                "median of {ROUNDS} pairs, {CONNECTIONS} connections; {} bytes; processor per request {:.1} us, bare {:.1} us",
                body.len(),
                median(&ours_cost),
                median(&theirs_cost),
            ),
        ),
        Figure::new(
            "GET one agent",
            "/s",
            Target::Any,
            median(&ours),
            "authenticated, authorised, read from the table",
        ),
        Figure::new(
            "bare axum route",
            "/s",
            Target::Any,
            median(&theirs),
            "the same bytes from memory",
        ),
    ])
}

/// The bare route, as a process.
struct Bare {
    address: SocketAddr,
    child: Child,
}

impl Bare {
    fn start(here: &Here, body: &std::path::Path) -> Result<Self> {
        let mut child = Command::new(here.release.join("xtask"))
            .arg("bench-bare")
            .arg(body)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        Ok(Self { address: line.trim().parse()?, child })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
