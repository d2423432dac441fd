//! The console: the page at `/` and its files, inside the binary.
//!
//! No build step and no files at run time. The content security policy allows nothing but what is
//! served here, so text that an agent wrote cannot become code.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use sha2::{Digest, Sha256};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

struct File {
    /// Where it is below `console/`.
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($kind:ident $path:literal)*) => {
        &[$(File {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../console/", $path)),
        }),*]
    };
}

/// What is served. A unit test holds it against the directory.
const FILES: &[File] = files! {
    HTML "index.html"
    STYLE "style.css"
    IMAGE "icon.svg"
    SCRIPT "app/api.js"
    SCRIPT "app/asks.js"
    SCRIPT "app/diff.js"
    SCRIPT "app/follow.js"
    SCRIPT "app/format.js"
    SCRIPT "app/main.js"
    SCRIPT "app/markdown.js"
    SCRIPT "app/new-session.js"
    SCRIPT "app/rows.js"
    SCRIPT "app/session.js"
    SCRIPT "app/sidebar.js"
    SCRIPT "app/sign-in.js"
    SCRIPT "app/state.js"
    SCRIPT "app/stream.js"
    SCRIPT "app/timeline.js"
    SCRIPT "app/ui.js"
    TEXT "vendor/README.md"
    SCRIPT "vendor/htm/htm.mjs"
    TEXT "vendor/htm/LICENSE"
    SCRIPT "vendor/marked/marked.esm.js"
    TEXT "vendor/marked/LICENSE"
    SCRIPT "vendor/preact/hooks.mjs"
    SCRIPT "vendor/preact/preact.mjs"
    TEXT "vendor/preact/LICENSE"
};

/// The page at `/` and its files below `/console/`, for GET and HEAD.
pub(crate) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = tag(file.bytes);
        let path = match file.path {
            "index.html" => "/".to_owned(),
            other => format!("/console/{other}"),
        };
        // `get` answers HEAD too, without the body, and everything else with 405 and `Allow`.
        router.route(
            &path,
            get(move |request: HeaderMap| {
                let answer = answer(file, &tag, &request);
                async { answer }
            }),
        )
    })
}

/// A strong entity tag: files change only with the binary, but browsers outlive binaries.
fn tag(bytes: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", &hash(bytes)[..32]);
    HeaderValue::from_str(&tag).unwrap_or_else(|_| unreachable!("hex digits are header text"))
}

/// The SHA-256 of `bytes`, in hex digits.
fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn answer(file: &File, tag: &HeaderValue, request: &HeaderMap) -> Response {
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one.as_bytes() == tag.as_bytes());
    let body = if known { Body::empty() } else { Body::from(Bytes::from_static(file.bytes)) };
    let mut response = Response::new(body);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        // Keep it, but ask each time whether it is still the one.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use axum::http::{Method, Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: Method, path: &str, known: Option<&HeaderValue>) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        routes().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    fn below(directory: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_is_served() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/console"));
        let mut found = BTreeSet::new();
        below(root, root, &mut found);
        let served: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(served, found);
    }

    #[test]
    fn vendored_files_are_the_ones_in_the_table() {
        let table = include_str!("../console/vendor/README.md");
        let mut listed = BTreeSet::new();
        for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let path = format!("vendor/{}", cells[3]);
            let file = FILES.iter().find(|file| file.path == path).expect(&path);
            assert_eq!(hash(file.bytes), cells[4], "{path}");
            listed.insert(path);
        }
        let vendored: BTreeSet<String> = FILES
            .iter()
            .filter(|file| file.path.starts_with("vendor/") && file.kind == SCRIPT)
            .map(|file| file.path.to_owned())
            .collect();
        assert_eq!(listed, vendored);
    }

    #[tokio::test]
    async fn the_page_comes_with_its_policy() {
        let response = ask(Method::GET, "/", None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], HTML);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(!policy.contains("unsafe"));
        assert!(body(response).await.starts_with(b"<!doctype html>"));
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let first = ask(Method::GET, "/console/app/main.js", None).await;
        assert_eq!(first.headers()[header::CONTENT_TYPE], SCRIPT);
        let tag = first.headers()[header::ETAG].clone();
        let second = ask(Method::GET, "/console/app/main.js", Some(&tag)).await;
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(second.headers()[header::ETAG], tag);
        assert!(body(second).await.is_empty());
        let other = HeaderValue::from_static("\"other\"");
        let third = ask(Method::GET, "/console/app/main.js", Some(&other)).await;
        assert_eq!(third.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn it_only_reads() {
        let head = ask(Method::HEAD, "/", None).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert!(body(head).await.is_empty());
        let post = ask(Method::POST, "/", None).await;
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(post.headers()[header::ALLOW], "GET,HEAD");
        let stray = ask(Method::GET, "/console/../src/main.rs", None).await;
        assert_eq!(stray.status(), StatusCode::NOT_FOUND);
    }
}
