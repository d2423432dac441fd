//! Endpoints outside that answer prompts: the driver `http` asks them through here.
//!
//! What holds here: what is sent goes to an address under one that the operator listed, or nowhere;
//! redirects are not followed. Nothing is added to a request, and no header of it is passed on.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use reqwest::{Client, Url};
use wire::shim::FORWARD_TO;

use crate::forward::BuildError;
use crate::problem::{Kind, Problem};

/// Where agents may go.
#[derive(Debug)]
pub(crate) struct Outside {
    client: Client,
    allowed: Vec<Url>,
}

impl Outside {
    /// Everything under `allowed`.
    pub(crate) fn new(client: Client, allowed: &[String]) -> Result<Self, BuildError> {
        let read = |text: &String| plain(text).ok_or(BuildError::HttpAgents);
        Ok(Self { client, allowed: allowed.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The address a request is to go to, where that is allowed.
    pub(crate) fn target(&self, headers: &HeaderMap) -> Result<Url, Problem> {
        let text = headers.get(FORWARD_TO).and_then(|value| value.to_str().ok());
        let target =
            text.and_then(plain).filter(|url| self.allowed.iter().any(|one| under(one, url)));
        target.ok_or_else(|| {
            let text: String = text.unwrap_or_default().chars().take(200).collect();
            tracing::info!(event = "egress_denied", target = text, "denied");
            let detail = "The operator has not listed this address among those of http agents.";
            Problem::new(Kind::EgressDenied, detail)
        })
    }

    /// Sends `body` and passes the answer on.
    pub(crate) async fn forward(&self, target: Url, body: Bytes) -> Result<Response, Problem> {
        let request = self
            .client
            .post(target)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(body);
        let answer = request.send().await.map_err(|error| {
            let what = if error.is_connect() {
                "cannot be reached"
            } else if error.is_timeout() {
                "did not answer in time"
            } else {
                "broke the connection"
            };
            failed(what)
        })?;
        let status = answer.status();
        if status.is_redirection() || status.is_informational() {
            return Err(failed(&format!("answered {status}, which is not followed")));
        }
        if answer.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(failed("encoded its answer without being asked to"));
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
        let mut passed = Response::new(pieces(answer));
        *passed.status_mut() =
            StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        passed.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(passed)
    }
}

/// The answer's body, piece by piece as it is read. One that breaks off fails.
fn pieces(answer: reqwest::Response) -> Body {
    Body::from_stream(stream::try_unfold(answer, |mut answer| async move {
        let piece = answer.chunk().await;
        let piece =
            piece.map_err(|_| std::io::Error::other("the endpoint broke off its answer"))?;
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, answer)))
    }))
}

fn failed(what: &str) -> Problem {
    Problem::new(Kind::HttpError, format!("The endpoint {what}."))
}

fn plain(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}

/// Whether `url` is `allowed` or under it.
fn under(allowed: &Url, url: &Url) -> bool {
    let base = allowed.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(base);
    allowed.origin() == url.origin()
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && (allowed.query().is_none() || allowed.query() == url.query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_denied() {
        let allowed =
            ["https://bots.example.com/team/".to_owned(), "http://127.0.0.1:9".to_owned()];
        let outside = Outside::new(crate::forward::client().unwrap(), &allowed).unwrap();
        let may = |to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARD_TO, HeaderValue::from_str(to).unwrap());
            outside.target(&headers).is_ok()
        };
        for to in [
            "https://bots.example.com/team",
            "https://bots.example.com/team/one?x=1",
            "https://BOTS.example.com:443/team/",
            "http://127.0.0.1:9/",
            "http://127.1:9/any",
        ] {
            assert!(may(to), "{to}");
        }
        for to in [
            "",
            "/team",
            "https://bots.example.com/",
            "https://bots.example.com/teams",
            "https://bots.example.com/team/../secret",
            "https://bots.example.com/team/%2e%2e/secret",
            "http://bots.example.com/team",
            "https://bots.example.com:444/team",
            "https://bots.example.com.evil.example/team",
            "https://bots.example.com@evil.example/team",
            "https://user@bots.example.com/team",
            "http://127.0.0.1:99/",
            "http://[::1]:9/",
            "http://169.254.169.254/",
            "file:///team",
        ] {
            assert!(!may(to), "{to}");
        }
        assert!(outside.target(&HeaderMap::new()).is_err());
        let none = Outside::new(crate::forward::client().unwrap(), &[]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(FORWARD_TO, HeaderValue::from_static("http://127.0.0.1:9/"));
        assert!(none.target(&headers).is_err(), "nothing is listed by itself");
    }

    #[test]
    fn a_list_is_of_addresses() {
        for text in ["example.com", "ftp://example.com", "https://u:p@example.com"] {
            let outside = Outside::new(crate::forward::client().unwrap(), &[text.to_owned()]);
            assert!(matches!(outside, Err(BuildError::HttpAgents)), "{text}");
        }
    }
}
