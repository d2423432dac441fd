//! A server outside: says what it is told to, byte by byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What is said at a path.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// This, with an `ETag` that is its hash.
    Bytes(Vec<u8>),
    /// This, cut short.
    Half(Vec<u8>),
    /// A head and then nothing more.
    Nothing,
    /// Bytes without an end.
    Endless,
    /// That it is there.
    Redirect(String),
    /// Only a status.
    Status(u16),
}

#[derive(Debug, Default)]
struct World {
    pages: Mutex<BTreeMap<String, Says>>,
    asked: Mutex<Vec<String>>,
    news: Notify,
}

/// The server. Gone with this value.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) url: String,
    world: Arc<World>,
    _serving: JoinSet<()>,
}

impl Outside {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::<World>::default();
        let mut serving = JoinSet::new();
        serving.spawn({
            let world = Arc::clone(&world);
            async move {
                let mut open = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    open.spawn(answer(stream, Arc::clone(&world)));
                }
            }
        });
        Self { url, world, _serving: serving }
    }

    pub(crate) fn says(&self, path: &str, says: Says) {
        self.world.pages.lock().unwrap().insert(path.to_owned(), says);
    }

    pub(crate) fn json(&self, path: &str, value: &Value) {
        self.says(path, Says::Bytes(value.to_string().into_bytes()));
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What was asked: `<status> <path>`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.world.asked.lock().unwrap().clone()
    }

    pub(crate) fn times(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.ends_with(&format!(" {path}"))).count()
    }

    /// Returns once `path` was asked for so often.
    pub(crate) async fn was_asked(&self, path: &str, times: usize) {
        let asked = async {
            loop {
                let news = self.world.news.notified();
                if self.times(path) >= times {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(tests::http::PATIENCE, asked).await.expect("it is asked for");
    }
}

async fn answer(mut stream: TcpStream, world: Arc<World>) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let said = world.pages.lock().unwrap().get(&path).cloned().unwrap_or(Says::Status(404));
    let known = head.lines().find_map(|line| line.strip_prefix("if-none-match: "));
    let etag = |bytes: &[u8]| {
        format!(
            "\"{:x}\"",
            u64::from_be_bytes(sha2::Sha256::digest(bytes)[..8].try_into().unwrap(),)
        )
    };
    let (status, headers, body) = match &said {
        Says::Bytes(bytes) if known == Some(etag(bytes).as_str()) => {
            (304, String::new(), Vec::new())
        }
        Says::Bytes(bytes) => {
            let headers = format!("etag: {}\r\ncontent-length: {}\r\n", etag(bytes), bytes.len());
            (200, headers, bytes.clone())
        }
        Says::Half(bytes) => {
            (200, format!("content-length: {}\r\n", bytes.len()), bytes[..bytes.len() / 2].to_vec())
        }
        Says::Nothing => (200, "content-length: 1000\r\n".to_owned(), Vec::new()),
        Says::Endless => (200, "connection: close\r\n".to_owned(), Vec::new()),
        Says::Redirect(to) => (302, format!("location: {to}\r\ncontent-length: 0\r\n"), Vec::new()),
        Says::Status(status) => (*status, "content-length: 0\r\n".to_owned(), Vec::new()),
    };
    world.asked.lock().unwrap().push(format!("{status} {path}"));
    world.news.notify_waiters();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
        return;
    }
    match said {
        Says::Endless => while stream.write_all(&vec![b'x'; 65536]).await.is_ok() {},
        // Until the other side has had enough.
        Says::Nothing => drop(stream.read(&mut byte).await),
        Says::Bytes(_) | Says::Half(_) | Says::Redirect(_) | Says::Status(_) => {}
    }
}
