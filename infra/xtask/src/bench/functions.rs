//! How fast the artifacts of the functions are there, how large they are, and what they take.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gate::Need;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::figure::{Figure, Target, median};
use super::reeve::resident;
use super::time::millis;
use super::{Here, Result};

/// How often each is started.
const ROUNDS: usize = 15;

/// The least that a function can be, with one DynamoDB client.
const HELLO: &str = "examples/hello";

/// How long a process may take until it is counted as one that does not start.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Builds what is measured.
pub(crate) fn build(cargo: &str) -> Result<()> {
    let built = Command::new(cargo)
        .args(["build", "--locked", "--profile", "function", "--package", "lambda"])
        .args(["--bins", "--example", "hello"])
        .status()?;
    if built.success() { Ok(()) } else { Err("the build of the functions failed".into()) }
}

/// Starts every artifact again and again, in turns with a bare one.
pub(crate) fn measure(here: &Here) -> Result<Vec<Figure>> {
    let built = here.release.with_file_name("function");
    let artifacts = artifacts();
    let world = World::start()?;
    let (mut starts, mut memory, mut sizes) = (BTreeMap::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (artifact, id) in artifacts.iter().copied().chain([(HELLO, "hello")]) {
            let function = Function::start(&built.join(artifact), id, &world)?;
            starts.entry(artifact).or_insert_with(Vec::new).push(millis(function.polled));
        }
    }
    for &(artifact, id) in &artifacts {
        let path = built.join(artifact);
        sizes.push((bytes(&path)?, artifact));
        memory.push((Function::start(&path, id, &world)?.after_one(&world, id)?, artifact));
    }
    let hello = median(&starts.remove(HELLO).unwrap_or_default());
    let starts = starts.iter().map(|(artifact, times)| (median(times), *artifact));
    let (start, slowest) = most(starts).ok_or("there are functions")?;
    let (size, largest) = most(sizes).ok_or("there are functions")?;
    let (memory, hungriest) = most(memory).ok_or("there are functions")?;
    Ok(vec![
        Figure::new(
            "exec of a function to its first poll, by a bare one's",
            "x",
            Target::AtMost(1.3),
            start / hello,
            format!(
                "the slowest, {slowest}: p50 of {ROUNDS} {start:.1} ms; lambda_http hello with one \
                 DynamoDB client: {hello:.1} ms"
            ),
        ),
        Figure::new(
            "largest function, stripped",
            "MB",
            Target::AtMost(15.0),
            size,
            format!("{largest}, of {}", artifacts.len()),
        ),
        Figure::new(
            "memory of a function after its first request",
            "MB",
            Target::AtMost(40.0),
            memory,
            format!("{hungriest}: VmRSS, pages of the binary included; without TLS"),
        ),
    ])
}

fn most<'a>(figures: impl IntoIterator<Item = (f64, &'a str)>) -> Option<(f64, &'a str)> {
    figures.into_iter().max_by(|(one, _), (other, _)| one.total_cmp(other))
}

/// One function of each artifact, the first that asks nothing of the network to start.
fn artifacts() -> Vec<(&'static str, &'static str)> {
    let routes = routes::routes();
    let routes = routes.iter().filter(|route| !route.grants.is_empty()).map(|route| route.id);
    let functions = routes::functions();
    let functions = functions.iter().filter(|one| !one.needs.contains(&Need::SigningKey));
    let all = routes.chain(functions.map(|function| function.id));
    let mut first = BTreeMap::new();
    for id in all {
        let artifact = id.split_once('.').map_or(id, |(artifact, _)| artifact);
        first.entry(artifact).or_insert(id);
    }
    first.into_iter().collect()
}

fn bytes(path: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    let bytes = path.metadata()?.len() as f64;
    Ok(bytes / 1e6)
}

/// What a function finds: an account that knows of nothing.
struct World {
    account: SocketAddr,
    events: PathBuf,
}

impl World {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let account = listener.local_addr()?;
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever hangs up has what it wanted.
                drop(nothing(connection));
            }
        });
        let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
        Ok(Self { account, events })
    }
}

/// Answers one call: there is no such thing.
fn nothing(connection: TcpStream) -> Result<()> {
    let mut connection = BufReader::new(connection);
    let head = head(&mut connection)?;
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    connection.read_exact(&mut vec![0; length.unwrap_or_default()])?;
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n\
        content-length: 2\r\nconnection: close\r\n\r\n{}";
    Ok(connection.get_mut().write_all(answer.as_bytes())?)
}

/// The lines of a message up to its body.
fn head(connection: &mut impl BufRead) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err("the other side hung up".into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

/// A function that waits for its first event.
struct Function {
    child: Child,
    api: BufReader<TcpStream>,
    /// From its start to its first poll.
    polled: Duration,
}

impl Function {
    fn start(binary: &Path, id: &str, world: &World) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let account = format!("http://{}", world.account);
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("_HANDLER", id)
            .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", id)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &account)
            .env("REEVE_TABLE", "table")
            .env("REEVE_BUCKET", "bucket")
            .env("REEVE_API_URL", &account)
            .env("REEVE_STREAM_URL", &account)
            .env("REEVE_EVENTS_URL", &account)
            .env("REEVE_CONNECTIONS", &account)
            .env("REEVE_ERRANDS_QUEUE", &account)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let started = Instant::now();
        let child = command.spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
        // Should it die first, nobody would come.
        let mut ready = [PollFd::new(&listener, PollFlags::IN)];
        if poll(&mut ready, Some(&PATIENCE))? == 0 {
            return Err(format!("{id} did not start").into());
        }
        let (connection, _) = listener.accept()?;
        let mut api = BufReader::new(connection);
        head(&mut api)?;
        Ok(Self { child, api, polled: started.elapsed() })
    }

    /// Megabytes of it that are in memory once it answers its first event.
    fn after_one(mut self, world: &World, id: &str) -> Result<f64> {
        let event = std::fs::read_to_string(world.events.join(format!("{id}.json")))?;
        // Far away: nothing here is about time.
        let deadline = super::time::micros() / 1e3 + 20_000.0;
        let head_of_event = format!(
            "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: one\r\n\
             lambda-runtime-deadline-ms: {deadline:.0}\r\n\
             lambda-runtime-invoked-function-arn: arn\r\ncontent-length: {}\r\n\r\n",
            event.len()
        );
        let connection = self.api.get_mut();
        connection.write_all(head_of_event.as_bytes())?;
        connection.write_all(event.as_bytes())?;
        let said = head(&mut self.api)?;
        match said.first() {
            Some(line) if line.contains("/response ") => resident(self.child.id()),
            line => Err(format!("{id} says {line:?}").into()),
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // One that has ended is one that cannot be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
