//! Requests on their way to a provider and answers on their way back, against one on loopback.

#![expect(clippy::unwrap_used, reason = "all of this runs in tests")]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use egress::{Api, ApiKey, Config, Provider, router};
use futures::StreamExt as _;
use futures::channel::mpsc;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

const KEY: &str = "sk-very-secret-0123456789";

type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

/// What came to the upstream, and what it answers.
#[derive(Default)]
struct Script {
    seen: Vec<(String, HeaderMap, Bytes)>,
    answer: Option<Response>,
}

/// A provider on loopback that answers once as it is told, and then as it is asked.
struct Upstream {
    script: Arc<Mutex<Script>>,
    url: String,
    _tasks: JoinSet<()>,
}

impl Upstream {
    async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { script, url, _tasks: tasks }
    }

    fn answers(&self, answer: Response) {
        self.script.lock().unwrap().answer = Some(answer);
    }

    /// Answers with what the sender will be given.
    fn streams(&self) -> mpsc::Sender<Result<Bytes, io::Error>> {
        let (sender, pieces): (_, Pieces) = mpsc::channel(0);
        let answer = Response::builder().header("content-type", "text/event-stream");
        self.answers(answer.body(Body::from_stream(pieces)).unwrap());
        sender
    }

    fn seen(&self) -> (String, HeaderMap, Bytes) {
        self.script.lock().unwrap().seen.pop().unwrap()
    }

    fn provider(&self, api: Api) -> Provider {
        Provider {
            api,
            base_url: self.url.clone(),
            api_key: Some(ApiKey::new(KEY)),
            default_model: None,
        }
    }

    fn router(&self, api: Api) -> Router {
        router(Config { providers: vec![self.provider(api)], scripted: false, ..Config::default() })
            .unwrap()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    let echo = format!("{:?}", parts.headers);
    script.seen.push((parts.uri.to_string(), parts.headers, body));
    script.answer.take().unwrap_or_else(|| Response::new(echo.into()))
}

fn post(path: &str, model: &str) -> Request {
    Request::post(path)
        .header("content-type", "application/json")
        .header("x-api-key", "from-the-client")
        .header("authorization", "Bearer from-the-client")
        .header("cookie", "from-the-client")
        .header("anthropic-beta", "some-beta")
        .header("x-forwarded-for", "10.0.0.1")
        .body(json!({ "model": model }).to_string().into())
        .unwrap()
}

fn get(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

async fn problem(router: &Router, request: Request) -> (u16, String, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["status"], status);
    let said = |key: &str| problem[key].as_str().unwrap().to_owned();
    assert_eq!(said("type"), format!("urn:reeve:problem:{}", said("code")));
    (status, said("code"), said("detail"))
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes() {
    for (api, path) in [(Api::Anthropic, "/v1/messages"), (Api::OpenAi, "/v1/chat/completions")] {
        let upstream = Upstream::start().await;
        let mut sender = upstream.streams();
        sender.try_send(Ok("data: 1\n\n".into())).unwrap();
        let response = upstream.router(api).oneshot(post(path, "m")).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "data: 1\n\n");
        sender.try_send(Ok("data: 2\n\n".into())).unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "data: 2\n\n");
        drop(sender);
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn the_credential_is_the_providers_and_only_safe_headers_go_out() {
    let upstream = Upstream::start().await;
    let request = post("/v1/messages?beta=true", "claude-x");
    text(upstream.router(Api::Anthropic).oneshot(request).await.unwrap()).await;
    let (path, headers, body) = upstream.seen();
    assert_eq!(path, "/v1/messages");
    assert_eq!(body, r#"{"model":"claude-x"}"#);
    assert_eq!(headers["x-api-key"], KEY);
    let names: std::collections::BTreeSet<&str> =
        headers.keys().map(axum::http::HeaderName::as_str).collect();
    insta::assert_debug_snapshot!(names, @r#"
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-api-key",
    }
    "#);

    let request = post("/v1/chat/completions", "gpt-x");
    text(upstream.router(Api::OpenAi).oneshot(request).await.unwrap()).await;
    let (path, headers, _) = upstream.seen();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert!(!headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn an_echoed_credential_is_cut_out() {
    let logged = Logged::default();
    let _guard = logged.listen();
    let upstream = Upstream::start().await;
    let mut sender = upstream.streams();
    let (head, tail) = KEY.split_at(9);
    sender.try_send(Ok(format!("you sent {head}").into())).unwrap();
    let router = upstream.router(Api::OpenAi);
    let response = router.clone().oneshot(post("/v1/chat/completions", "m")).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "you sent ");
    sender.try_send(Ok(format!("{tail}!").into())).unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), "[redacted]!");

    let echo = Response::builder().status(401).header("x-request-id", KEY);
    upstream.answers(echo.body(json!({ "error": KEY }).to_string().into()).unwrap());
    let response = router.clone().oneshot(post("/v1/chat/completions", "m")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(!format!("{:?}", response.headers()).contains(KEY));
    assert_eq!(text(response).await, r#"{"error":"[redacted]"}"#);

    let mut sender = upstream.streams();
    sender.try_send(Ok("data: 1\n\n".into())).unwrap();
    let broken = router.oneshot(post("/v1/chat/completions", "m")).await.unwrap();
    let mut body = broken.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    sender.try_send(Err(io::Error::other(KEY))).unwrap();
    let error = body.next().await.unwrap().unwrap_err();
    assert!(!format!("{error:?} {:?}", upstream.provider(Api::OpenAi)).contains(KEY));
    assert!(logged.text().contains("broke off its answer"));
    assert!(!logged.text().contains(KEY), "{}", logged.text());
}

#[tokio::test]
async fn a_provider_that_breaks_off_breaks_the_answer_off() {
    let upstream = Upstream::start().await;
    let mut sender = upstream.streams();
    sender.try_send(Ok("data: 1\n\n".into())).unwrap();
    let router = upstream.router(Api::Anthropic);
    let response = router.oneshot(post("/v1/messages", "m")).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "data: 1\n\n");
    sender.try_send(Err(io::Error::other("gone"))).unwrap();
    assert!(body.next().await.unwrap().is_err());
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_providers_work() {
    let upstream = Upstream::start().await;
    let mut sender = upstream.streams();
    sender.try_send(Ok("data: 1\n\n".into())).unwrap();
    let router = upstream.router(Api::Anthropic);
    let response = router.oneshot(post("/v1/messages", "m")).await.unwrap();
    drop(response);
    while futures::SinkExt::send(&mut sender, Ok("data: 2\n\n".into())).await.is_ok() {}
}

#[tokio::test]
async fn an_error_of_the_provider_is_passed_on() {
    let upstream = Upstream::start().await;
    let busy = Response::builder()
        .status(429)
        .header("content-type", "application/json")
        .header("retry-after", "7")
        .header("request-id", "req_1")
        .header("anthropic-ratelimit-requests-remaining", "0")
        .header("anthropic-organization-id", "org")
        .header("set-cookie", "a=b");
    upstream.answers(busy.body(r#"{"type":"error"}"#.into()).unwrap());
    let router = upstream.router(Api::Anthropic);
    let response = router.oneshot(post("/v1/messages", "m")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let headers: std::collections::BTreeMap<_, _> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    insta::assert_debug_snapshot!(headers, @r#"
    {
        "anthropic-ratelimit-requests-remaining": "0",
        "content-type": "application/json",
        "request-id": "req_1",
        "retry-after": "7",
    }
    "#);
    assert_eq!(text(response).await, r#"{"type":"error"}"#);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let upstream = Upstream::start().await;
    let elsewhere = Response::builder().status(307).header("location", "/elsewhere");
    upstream.answers(elsewhere.body(Body::empty()).unwrap());
    let said = problem(&upstream.router(Api::OpenAi), post("/v1/chat/completions", "m")).await;
    insta::assert_debug_snapshot!(said, @r#"
    (
        502,
        "model_error",
        "The provider for openai answered 307 Temporary Redirect, which is not followed.",
    )
    "#);
    assert_eq!(upstream.script.lock().unwrap().seen.len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_model_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gone = Provider { api: Api::OpenAi, base_url, api_key: None, default_model: None };
    let router =
        router(Config { providers: vec![gone], scripted: false, ..Config::default() }).unwrap();
    let said = problem(&router, post("/v1/chat/completions", "m")).await;
    insta::assert_debug_snapshot!(said, @r#"
    (
        502,
        "model_error",
        "The provider for openai cannot be reached.",
    )
    "#);
}

#[tokio::test]
async fn what_is_not_a_route_is_denied() {
    let upstream = Upstream::start().await;
    let router = upstream.router(Api::Anthropic);
    let mut denials = Vec::new();
    for request in [
        get("/v1/files"),
        get("/v1/messages"),
        post("http://user@evil.example/v1/messages?k=v", "m"),
        Request::connect("evil.example:443").body(Body::empty()).unwrap(),
        Request::get("/x").header("host", "evil.example").body(Body::empty()).unwrap(),
    ] {
        let (status, code, detail) = problem(&router, request).await;
        assert_eq!((status, code.as_str()), (403, "egress_denied"));
        denials.push(detail);
    }
    insta::assert_debug_snapshot!(denials, @r#"
    [
        "GET /v1/files is not among what containers may reach.",
        "GET /v1/messages is not among what containers may reach.",
        "POST evil.example/v1/messages is not among what containers may reach.",
        "CONNECT evil.example:443 is not among what containers may reach.",
        "GET evil.example/x is not among what containers may reach.",
    ]
    "#);
    assert!(upstream.script.lock().unwrap().seen.is_empty());
}

#[tokio::test]
async fn the_model_decides_the_provider() {
    let (claude, gpt) = (Upstream::start().await, Upstream::start().await);
    let default = |provider: Provider, model: &str| Provider {
        default_model: Some(model.to_owned()),
        ..provider
    };
    let both = vec![
        default(claude.provider(Api::Anthropic), "house-model"),
        default(gpt.provider(Api::OpenAi), "gpt-x"),
    ];
    let both = router(Config { providers: both, scripted: true, ..Config::default() }).unwrap();
    let list = both.clone().oneshot(get("/v1/models")).await.unwrap();
    insta::assert_snapshot!(text(list).await, @r#"{"object":"list","data":[{"id":"house-model","object":"model","owned_by":"anthropic"},{"id":"gpt-x","object":"model","owned_by":"openai"}]}"#);
    let mut owners = Vec::new();
    for model in ["house-model", "claude-y", "gpt-y", "vendor%2Fclaude-y"] {
        let response = both.clone().oneshot(get(&format!("/v1/models/{model}"))).await.unwrap();
        let model: Value = serde_json::from_str(&text(response).await).unwrap();
        owners.push(format!("{} {}", model["id"], model["owned_by"]));
    }
    insta::assert_debug_snapshot!(owners, @r#"
    [
        "\"house-model\" \"anthropic\"",
        "\"claude-y\" \"anthropic\"",
        "\"gpt-y\" \"openai\"",
        "\"vendor/claude-y\" \"openai\"",
    ]
    "#);
    let ok = both.clone().oneshot(post("/v1/messages", "house-model")).await.unwrap();
    assert_eq!(ok.status(), StatusCode::OK);
    let wrong_shape = problem(&both, post("/v1/messages", "gpt-y")).await;
    insta::assert_debug_snapshot!(wrong_shape, @r#"
    (
        404,
        "model_unavailable",
        "The model is one of openai: it is not served at /v1/messages.",
    )
    "#);

    let only = claude.router(Api::Anthropic);
    let ok = only.clone().oneshot(post("/v1/messages", "gpt-y")).await.unwrap();
    assert_eq!(ok.status(), StatusCode::OK);
    let (status, code, _) = problem(&only, post("/v1/chat/completions", "gpt-y")).await;
    assert_eq!((status, code.as_str()), (404, "model_unavailable"));
}

#[tokio::test]
async fn without_a_default_the_provider_is_asked() {
    let upstream = Upstream::start().await;
    let list = |api| {
        let router = upstream.router(api);
        async { text(router.oneshot(get("/v1/models")).await.unwrap()).await }
    };
    let two = || Response::new(r#"{"data":[{"id":"newest"},{"id":"older"}]}"#.into());
    upstream.answers(two());
    insta::assert_snapshot!(list(Api::Anthropic).await, @r#"{"object":"list","data":[{"id":"newest","object":"model","owned_by":"anthropic"}]}"#);
    assert_eq!(upstream.seen().0, "/v1/models");
    upstream.answers(two());
    insta::assert_snapshot!(list(Api::OpenAi).await, @r#"{"object":"list","data":[]}"#);
    upstream.answers(Response::new(r#"{"data":[{"id":"qwen"}]}"#.into()));
    insta::assert_snapshot!(list(Api::OpenAi).await, @r#"{"object":"list","data":[{"id":"qwen","object":"model","owned_by":"openai"}]}"#);
}

#[tokio::test]
async fn with_nobody_set_up_no_model_is_available() {
    let nobody = router(Config::default()).unwrap();
    for request in [get("/v1/models/org%2Fm"), post("/v1/messages", "m")] {
        let (status, code, _) = problem(&nobody, request).await;
        assert_eq!((status, code.as_str()), (404, "model_unavailable"));
    }
}

#[tokio::test]
async fn a_body_has_a_bound_and_a_model() {
    let upstream = Upstream::start().await;
    let router = upstream.router(Api::Anthropic);
    let mut codes = Vec::new();
    for body in [" ".repeat(egress::MAX_REQUEST + 1), "{}".to_owned(), "no".to_owned()] {
        let request = Request::post("/v1/messages").body(body.into()).unwrap();
        let (status, code, detail) = problem(&router, request).await;
        codes.push(format!("{status} {code}: {detail}"));
    }
    insta::assert_debug_snapshot!(codes, @r#"
    [
        "413 body_too_large: The body has more than 10485760 bytes.",
        "400 invalid_body: The body is not JSON that names a model.",
        "400 invalid_body: The body is not JSON that names a model.",
    ]
    "#);
    assert!(upstream.script.lock().unwrap().seen.is_empty());
}

/// All that is logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Logged {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_model_that_the_path_names_is_asked_there_and_nothing_else_is() {
    let upstream = Upstream::start().await;
    let router = upstream.router(Api::Google);
    for (asked, there) in [
        ("gemini-x:generateContent?key=from-the-client", "gemini-x:generateContent"),
        ("gemini-x:streamGenerateContent?alt=sse", "gemini-x:streamGenerateContent?alt=sse"),
        ("gemini-x:countTokens", "gemini-x:countTokens"),
    ] {
        let mut request = post(&format!("/v1beta/models/{asked}"), "ignored");
        request.headers_mut().insert("x-goog-api-key", "from-the-client".parse().unwrap());
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{asked}");
        let (path, headers, _) = upstream.seen();
        assert_eq!(path, format!("/v1beta/models/{there}"));
        assert_eq!(headers["x-goog-api-key"], KEY);
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x-api-key"));
    }
    for asked in [
        "gemini-x:batchGenerateContent",
        "gemini-x:streamGenerateContent",
        "gemini-x",
        ":generateContent",
        "..%2F..%2Ffiles:generateContent",
        "x%3Fkey:generateContent",
    ] {
        let request = post(&format!("/v1beta/models/{asked}"), "ignored");
        let (status, code, _) = problem(&router, request).await;
        assert_eq!((status, code.as_str()), (403, "egress_denied"), "{asked}");
    }
    assert!(upstream.script.lock().unwrap().seen.is_empty());
    // Only what speaks it is asked.
    let other = upstream.router(Api::OpenAi);
    let (status, code, _) =
        problem(&other, post("/v1beta/models/gemini-x:generateContent", "ignored")).await;
    assert_eq!((status, code.as_str()), (404, "model_unavailable"));
}
