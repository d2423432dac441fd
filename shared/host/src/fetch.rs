//! Documents and downloads of servers outside, over HTTP/1.1.
//!
//! What holds here: the address that is checked is the one that is connected to, on each hop. A
//! connection serves one request. What a server is told beside the path is our name and, where the
//! operator gave one for its origin, a key; a redirect to another origin does not get it.
//!
//! Deliberately absent: cookies, compression (a bomb costs what it weighs), proxies, other methods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use app::ports::{Fetch, FetchError, FetchRequest, Fetched};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, ETAG, HOST, IF_NONE_MATCH, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::address::is_public;

/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// Whom the operator lets be reached beside the internet, and with what.
#[derive(Clone, Default)]
pub struct Reach {
    vouched: BTreeSet<String>,
    keys: BTreeMap<String, String>,
    files: BTreeSet<PathBuf>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("vouched", &self.vouched).finish_non_exhaustive()
    }
}

impl Reach {
    /// Vouches for the host and port of a URL, or for a file where it is `file:` and a path: whatever
    /// address it has, and over plain http, too.
    #[must_use]
    pub fn vouch(mut self, url: &str) -> Self {
        if let Ok(url) = Url::parse(url) {
            match url.scheme() {
                "file" => self.files.extend(url.to_file_path()),
                _ => self.vouched.extend(authority(&url)),
            }
        }
        self
    }

    /// Shows this key to the origin of `url`.
    #[must_use]
    pub fn with_key(mut self, url: &str, key: &str) -> Self {
        if let Ok(url) = Url::parse(url) {
            self.keys.insert(url.origin().ascii_serialization(), key.to_owned());
        }
        self
    }
}

/// The Fetch port over HTTP/1.1. Cheap to clone.
#[derive(Clone)]
pub struct HttpFetch {
    reach: Arc<Reach>,
    tls: TlsConnector,
}

impl fmt::Debug for HttpFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reach.fmt(f)
    }
}

impl HttpFetch {
    /// With this machine's roots of trust.
    pub fn new(reach: Reach) -> Result<Self, rustls::Error> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .and_then(rustls::ConfigBuilder::with_platform_verifier)?
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { reach: Arc::new(reach), tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn follow(
        &self,
        request: &FetchRequest,
        into: &mut (dyn Write + Send),
    ) -> Result<Fetched, FetchError> {
        let mut url = parse(&request.url)?;
        if url.scheme() == "file" {
            return self.read(&url, request, into).await;
        }
        for _ in 0..=REDIRECTS {
            let response = self.get(&url, request).await?;
            let (parts, body) = response.into_parts();
            match parts.status {
                StatusCode::NOT_MODIFIED if request.etag.is_some() => {
                    return Ok(Fetched::Unchanged);
                }
                StatusCode::OK => return whole(&parts.headers, body, request.limit, into).await,
                status if status.is_redirection() => {
                    let to = parts.headers.get(LOCATION).and_then(|to| to.to_str().ok());
                    let to = to.ok_or(FetchError::Status(status.as_u16()))?;
                    let next = url.join(to).map_err(|_| forbidden("a redirect leads to no URL"))?;
                    url = parse(next.as_str())?;
                }
                status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => {
                    return Err(FetchError::NotFound(status.as_u16()));
                }
                status => return Err(FetchError::Status(status.as_u16())),
            }
        }
        Err(forbidden("more than five redirects"))
    }

    async fn get(
        &self,
        url: &Url,
        request: &FetchRequest,
    ) -> Result<Response<Incoming>, FetchError> {
        let authority = authority(url).ok_or_else(|| forbidden("the URL has no host"))?;
        let vouched = self.reach.vouched.contains(&authority);
        if url.scheme() != "https" && !(url.scheme() == "http" && vouched) {
            return Err(FetchError::Forbidden(format!(
                "{authority}: plain http is only for hosts that the operator vouches for"
            )));
        }
        let stream = connect(url, vouched).await?;
        let mut asked = Request::get(path(url))
            .header(HOST, authority)
            .header(USER_AGENT, concat!("reeve/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, request.accept);
        if let Some(etag) = &request.etag {
            asked = asked.header(IF_NONE_MATCH, etag);
        }
        if let Some(key) = self.reach.keys.get(&url.origin().ascii_serialization()) {
            asked = asked.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let asked = asked.body(Empty::new()).map_err(|_| forbidden("the request has no form"))?;
        if url.scheme() == "http" {
            return send(stream, asked).await;
        }
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())
                .map_err(|_| forbidden("the host has no name that TLS knows"))?,
            Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::from(address)),
            Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::from(address)),
            None => return Err(forbidden("the URL has no host")),
        };
        send(self.tls.connect(name, stream).await.map_err(gone)?, asked).await
    }

    /// A file that the operator named: its length and time name what it holds.
    async fn read(
        &self,
        url: &Url,
        request: &FetchRequest,
        into: &mut (dyn Write + Send),
    ) -> Result<Fetched, FetchError> {
        let path = url.to_file_path().ok().filter(|path| self.reach.files.contains(path));
        let path = path.ok_or_else(|| forbidden("only files that the operator named are read"))?;
        let metadata = tokio::fs::metadata(&path).await.map_err(gone)?;
        let changed = metadata.modified().map_err(gone)?;
        let changed = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let etag = format!("\"{}-{}\"", metadata.len(), changed.as_nanos());
        if request.etag.as_ref() == Some(&etag) {
            return Ok(Fetched::Unchanged);
        }
        if metadata.len() > request.limit {
            return Err(FetchError::TooLarge(request.limit));
        }
        let held = tokio::fs::read(&path).await.map_err(gone)?;
        into.write_all(&held).map_err(FetchError::Sink)?;
        Ok(Fetched::Found { etag: Some(etag), bytes: held.len() as u64 })
    }
}

#[async_trait::async_trait]
impl Fetch for HttpFetch {
    async fn fetch(
        &self,
        request: &FetchRequest,
        into: &mut (dyn Write + Send),
    ) -> Result<Fetched, FetchError> {
        let followed = Box::pin(self.follow(request, into));
        match tokio::time::timeout(request.timeout, followed).await {
            Ok(done) => done,
            Err(_) => Err(FetchError::TimedOut(request.timeout)),
        }
    }
}

fn forbidden(why: &str) -> FetchError {
    FetchError::Forbidden(why.to_owned())
}

fn gone(error: impl fmt::Display) -> FetchError {
    FetchError::Unavailable(error.to_string())
}

fn parse(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| forbidden("it is no URL"))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(forbidden("only http and https are spoken"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(forbidden("the URL has a user"));
    }
    Ok(url)
}

/// Host and port, the port left out where it is the usual one.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?.to_ascii_lowercase();
    Some(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

fn path(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// A connection to an address of the host that may be reached.
async fn connect(url: &Url, vouched: bool) -> Result<TcpStream, FetchError> {
    let port = url.port_or_known_default().ok_or_else(|| forbidden("the URL has no port"))?;
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(address)) => vec![SocketAddr::from((address, port))],
        Some(Host::Ipv6(address)) => vec![SocketAddr::from((address, port))],
        Some(Host::Domain(name)) => {
            tokio::net::lookup_host((name, port)).await.map_err(gone)?.collect()
        }
        None => return Err(forbidden("the URL has no host")),
    };
    // All of them: a name that leads inside at times is not to be trusted at others.
    if !vouched && let Some(inside) = addresses.iter().find(|address| !is_public(address.ip())) {
        let host = url.host_str().unwrap_or_default();
        return Err(FetchError::Forbidden(format!(
            "{host} is {}, which is no address of the internet",
            inside.ip()
        )));
    }
    TcpStream::connect(&*addresses).await.map_err(gone)
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, FetchError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    // It ends with the body, or when that is dropped; why is told where it is read.
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the body that is awaited")]
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(gone)
}

async fn whole(
    headers: &HeaderMap,
    mut body: Incoming,
    limit: u64,
    into: &mut (dyn Write + Send),
) -> Result<Fetched, FetchError> {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > limit) {
        return Err(FetchError::TooLarge(limit));
    }
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(gone)?.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > limit {
            return Err(FetchError::TooLarge(limit));
        }
        into.write_all(&data).map_err(FetchError::Sink)?;
    }
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
    // One that is longer than any is nothing to remember.
    let etag = etag.filter(|etag| etag.len() <= 256).map(str::to_owned);
    Ok(Fetched::Found { etag, bytes })
}
