//! One provider: where its requests go and what of them and of the answers is passed on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use reqwest::{Client, Url};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::{Api, Endpoint, Provider};
use crate::control::NotControl;
use crate::problem::{Kind, Problem};
use crate::scrub::Scrub;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a provider may say nothing, before its answer and within it.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// What of a request is passed on.
const REQUEST_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    ANTHROPIC_VERSION,
    HeaderName::from_static("anthropic-beta"),
];
/// What of an answer is passed on, besides the rate limits.
const RESPONSE_HEADERS: [&str; 5] =
    ["content-type", "retry-after", "retry-after-ms", "request-id", "x-request-id"];
const RATE_LIMITS: [&str; 2] = ["anthropic-ratelimit-", "x-ratelimit-"];

/// Sent where there is no credential: servers that ask for none ignore it.
const PLACEHOLDER: &str = "none";

/// Why the endpoints cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There are two providers for the same API.
    #[error("more than one provider speaks the API of {0}")]
    TwoProviders(&'static str),
    /// A base URL is no plain http(s) URL. It is not repeated: it may hold a password.
    #[error("the base URL for {0} is not an http or https URL without user, query and fragment")]
    BaseUrl(&'static str),
    /// A credential is not of the characters a header takes.
    #[error("the API key for {0} is not of visible ASCII characters")]
    ApiKey(&'static str),
    /// An address of agents outside is no plain http(s) URL.
    #[error("REEVE_HTTP_AGENTS is not a list of http or https URLs without user and fragment")]
    HttpAgents,
    /// There is no TLS with this machine's roots.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The control plane's URL is none.
    #[error("the control plane's URL is {0}")]
    Control(NotControl),
    /// There is no HTTP client.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// The client for every provider: what it is asked goes to that host or nowhere.
pub(crate) fn client() -> Result<Client, BuildError> {
    Client::builder()
        .tls_backend_preconfigured(tls()?)
        .user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(BuildError::Client)
}

/// TLS that trusts whom this machine trusts.
pub(crate) fn tls() -> Result<rustls::ClientConfig, BuildError> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .and_then(rustls::ConfigBuilder::with_platform_verifier)
        .map_err(BuildError::Tls)?;
    Ok(config.with_no_client_auth())
}

/// A provider as requests are sent to it.
pub(crate) struct Upstream {
    pub(crate) api: Api,
    pub(crate) default_model: Option<String>,
    client: Client,
    base: String,
    models: Url,
    credential: (HeaderName, HeaderValue),
    secret: String,
}

impl Upstream {
    pub(crate) fn new(client: Client, provider: Provider) -> Result<Self, BuildError> {
        let Provider { api, base_url, api_key, default_model } = provider;
        let base = base(api, &base_url).ok_or(BuildError::BaseUrl(api.owner()))?;
        let join = |path: &str| Url::parse(&format!("{base}{path}"));
        let models = match api {
            Api::Anthropic => join("/v1/models"),
            Api::OpenAi => join("/models"),
            Api::Google => join("/v1beta/models"),
        };
        let Ok(models) = models else { return Err(BuildError::BaseUrl(api.owner())) };
        let key = api_key.as_ref().map_or(PLACEHOLDER, crate::ApiKey::expose);
        let (name, value) = match api {
            Api::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Api::OpenAi => (header::AUTHORIZATION, format!("Bearer {key}")),
            Api::Google => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| BuildError::ApiKey(api.owner()))?;
        value.set_sensitive(true);
        let secret = api_key.map(|key| key.expose().to_owned()).unwrap_or_default();
        if models.scheme() == "http" && !secret.is_empty() && !is_loopback(&models) {
            tracing::warn!(provider = api.owner(), "the API key is sent to a host without TLS");
        }
        Ok(Self { api, default_model, client, base, models, credential: (name, value), secret })
    }

    /// Where an endpoint of its API is.
    fn at(&self, endpoint: Endpoint, model: &str) -> String {
        format!("{}{}", self.base, endpoint.at_provider(model))
    }

    /// Sends `body` and passes the answer on.
    pub(crate) async fn forward(
        &self,
        (endpoint, model): (Endpoint, &str),
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Problem> {
        let mut passed = HeaderMap::new();
        passed.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.api == Api::Anthropic {
            passed.insert(ANTHROPIC_VERSION, HeaderValue::from_static("2023-06-01"));
        }
        for name in REQUEST_HEADERS {
            if let Some(value) = headers.get(&name) {
                passed.insert(name, value.clone());
            }
        }
        let request = self.client.post(self.at(endpoint, model)).headers(passed).body(body);
        self.pass_on(self.send(request).await?)
    }

    /// What the provider says it has, unread beyond a bound.
    pub(crate) async fn models(&self) -> Result<Vec<u8>, Problem> {
        const LONGEST: usize = 1 << 20;
        let mut request = self.client.get(self.models.clone());
        if self.api == Api::Anthropic {
            request = request.header(ANTHROPIC_VERSION, "2023-06-01");
        }
        let mut response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.failed(&format!("answered {}", response.status())));
        }
        let mut list = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broken(error))? {
            if list.len() + piece.len() > LONGEST {
                return Err(self.failed("has a list of models that is too long"));
            }
            list.extend_from_slice(&piece);
        }
        Ok(list)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Problem> {
        let (name, value) = self.credential.clone();
        request.header(name, value).send().await.map_err(|error| self.broken(error))
    }

    fn pass_on(&self, response: reqwest::Response) -> Result<Response, Problem> {
        let status = response.status();
        if status.is_redirection() || status.is_informational() {
            return Err(self.failed(&format!("answered {status}, which is not followed")));
        }
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(self.failed("encoded its answer without being asked to"));
        }
        let scrub = Scrub::new(&self.secret);
        let mut passed = HeaderMap::new();
        for (name, value) in response.headers() {
            let name_is_safe = RESPONSE_HEADERS.contains(&name.as_str())
                || RATE_LIMITS.iter().any(|prefix| name.as_str().starts_with(prefix));
            if name_is_safe && !scrub.hits(value.as_bytes()) {
                passed.append(name.clone(), value.clone());
            }
        }
        let mut answer = Response::new(pieces(self.api, response, scrub));
        *answer.status_mut() = status;
        *answer.headers_mut() = passed;
        Ok(answer)
    }

    fn broken(&self, error: reqwest::Error) -> Problem {
        let what = if error.is_connect() {
            "cannot be reached"
        } else if error.is_timeout() {
            "did not answer in time"
        } else {
            "broke the connection"
        };
        log(self.api, what, error);
        self.failed(what)
    }

    fn failed(&self, what: &str) -> Problem {
        Problem::new(Kind::ModelError, format!("The provider for {} {what}.", self.api.owner()))
    }
}

/// The answer's body, piece by piece as it is read. One that breaks off fails.
fn pieces(api: Api, response: reqwest::Response, scrub: Scrub) -> Body {
    let state = (Some(response), scrub);
    Body::from_stream(stream::try_unfold(state, move |(mut response, mut scrub)| async move {
        while let Some(upstream) = &mut response {
            let piece = match upstream.chunk().await {
                Ok(Some(piece)) => scrub.pass(piece),
                Ok(None) => {
                    response = None;
                    scrub.end()
                }
                Err(error) => {
                    log(api, "broke off its answer", error);
                    return Err(std::io::Error::other("the provider broke off its answer"));
                }
            };
            if !piece.is_empty() {
                return Ok(Some((piece, (response, scrub))));
            }
        }
        Ok(None)
    }))
}

fn log(api: Api, what: &str, error: reqwest::Error) {
    // The URL may hold what an operator did not mean for logs.
    let error = error.without_url();
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        chain = format!("{chain}: {inner}");
        source = inner.source();
    }
    tracing::warn!(provider = api.owner(), error = chain, "the provider for a model {what}");
}

/// The base as paths are appended to it: without its last slash.
fn base(api: Api, text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let base = url.as_str().trim_end_matches('/');
    plain.then(|| match api {
        Api::OpenAi if url.path() == "/" => format!("{base}/v1"),
        Api::Anthropic | Api::OpenAi | Api::Google => base.to_owned(),
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(api: Api, base_url: &str) -> Result<String, BuildError> {
        let provider =
            Provider { api, base_url: base_url.to_owned(), api_key: None, default_model: None };
        let endpoint = match api {
            Api::Anthropic => Endpoint::Messages,
            Api::OpenAi => Endpoint::Responses,
            Api::Google => Endpoint::StreamGenerate,
        };
        Upstream::new(client().unwrap(), provider).map(|upstream| upstream.at(endpoint, "m"))
    }

    #[test]
    fn paths_join_as_in_the_client_libraries() {
        let joined = |api, base| endpoint(api, base).unwrap();
        for base in ["https://api.anthropic.com", "https://api.anthropic.com/"] {
            assert_eq!(joined(Api::Anthropic, base), "https://api.anthropic.com/v1/messages");
        }
        assert_eq!(joined(Api::Anthropic, "http://h/proxy/"), "http://h/proxy/v1/messages");
        for base in ["http://[::1]:8080", "http://[::1]:8080/", "http://[::1]:8080/v1/"] {
            assert_eq!(joined(Api::OpenAi, base), "http://[::1]:8080/v1/responses");
        }
        assert_eq!(joined(Api::OpenAi, "https://h/api/v3"), "https://h/api/v3/responses");
        let streamed = "http://h/v1beta/models/m:streamGenerateContent?alt=sse";
        assert_eq!(joined(Api::Google, "http://h/"), streamed);
    }

    #[test]
    fn a_base_url_that_is_more_than_one_is_refused() {
        for base in
            ["", "api.openai.com/v1", "ftp://h", "https://u:p@h", "https://h/?a", "file:///"]
        {
            let error = endpoint(Api::OpenAi, base).unwrap_err();
            assert!(matches!(error, BuildError::BaseUrl("openai")), "{base}");
        }
    }
}
