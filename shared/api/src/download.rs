//! Answers that are bytes: a file, or a part of it, and what is made while it is sent.
//!
//! What holds here: ranges and conditions are those of RFC 9110. One range is answered with a 206; of
//! several, or of what is no range, nothing is taken and the whole is sent. A range without a byte in
//! it is a 416. What a browser is sent, it saves and does not show.

use std::io;
use std::ops::Range;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::json;
use wire::{Problem, ProblemKind};

use crate::{Failure, Input, Operation, Output};

/// Bytes, piece by piece.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Which part of a file is asked for, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

impl Input for Asked {
    fn describe(operation: &mut Operation<'_>) {
        let text = json!({ "type": "string" });
        operation.header(
            "Range",
            "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-5`.",
            &text,
        );
        operation.header("If-Range", "The `ETag` for which the range is meant.", &text);
        operation.header("If-None-Match", "`ETag`s that are known already, or `*`.", &text);
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let text = |headers: &HeaderMap, name: HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Ok(Self {
            range: text(&parts.headers, RANGE),
            if_range: text(&parts.headers, IF_RANGE),
            if_none_match: text(&parts.headers, IF_NONE_MATCH),
        })
    }
}

/// A file.
pub struct Download {
    /// What was asked for.
    pub asked: Asked,
    /// How many bytes the file has.
    pub size: u64,
    /// What it is known by: another text, once it has changed. Without quotes.
    pub tag: String,
    /// Whether that is certain, to the byte.
    pub certain: bool,
    /// What it is saved as.
    pub name: String,
    /// Gives the bytes of a range.
    pub content: Box<dyn FnOnce(Range<u64>) -> Pieces + Send>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({} bytes)", self.size)
    }
}

impl Output for Download {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        let bytes = json!({ "type": "string", "format": "binary" });
        operation.reply_as(200, "application/octet-stream", &bytes);
        operation.reply_as(206, "application/octet-stream", &bytes);
        operation.elsewhere();
        operation.empty_reply(304);
        operation.problem(ProblemKind::RangeNotSatisfiable);
    }
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        let tag = format!("{}\"{}\"", if self.certain { "" } else { "W/" }, self.tag);
        let same =
            |known: &str| known.trim().trim_start_matches("W/") == tag.trim_start_matches("W/");
        let known = self.asked.if_none_match.as_deref();
        if known.is_some_and(|known| known.trim() == "*" || known.split(',').any(same)) {
            return with(StatusCode::NOT_MODIFIED.into_response(), &[(ETAG, tag)]);
        }
        // A part of another file is no use to who has the rest of this one.
        let meant = self.asked.if_range.as_deref();
        let meant = meant.is_none_or(|meant| self.certain && meant.trim() == tag);
        let range = self.asked.range.as_deref().filter(|_| meant);
        let (status, part) = match range.map_or(Part::Whole, |range| part(range, self.size)) {
            Part::Whole => (StatusCode::OK, 0..self.size),
            Part::Some(part) => (StatusCode::PARTIAL_CONTENT, part),
            Part::None => {
                let detail = format!("the file has {} bytes", self.size);
                let problem = Problem::new(ProblemKind::RangeNotSatisfiable, detail);
                let size = format!("bytes */{}", self.size);
                return with(Failure(problem).into_response(), &[(CONTENT_RANGE, size)]);
            }
        };
        let mut headers = vec![
            (ETAG, tag),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (CACHE_CONTROL, "private, no-cache".to_owned()),
            (CONTENT_LENGTH, (part.end - part.start).to_string()),
        ];
        if status == StatusCode::PARTIAL_CONTENT {
            let (first, last) = (part.start, part.end - 1);
            headers.push((CONTENT_RANGE, format!("bytes {first}-{last}/{}", self.size)));
        }
        let content = (self.content)(part);
        let mut response = attachment("application/octet-stream", &self.name, content);
        *response.status_mut() = status;
        with(response, &headers)
    }
}

/// A response whose body is made while it is sent, to be saved under a name.
pub fn attachment(form: &'static str, name: &str, content: Pieces) -> Response {
    let mut response = Body::from_stream(content).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let disposition = format!("attachment; filename*=UTF-8''{}", spelled(name));
    with(response, &[(CONTENT_DISPOSITION, disposition)])
}

/// A name, as RFC 8187 spells it: no byte of it means anything to a header.
fn spelled(name: &str) -> String {
    use std::fmt::Write;
    name.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn with(mut response: Response, headers: &[(HeaderName, String)]) -> Response {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What a `Range` header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Some(Range<u64>),
    None,
}

fn part(header: &str, size: u64) -> Part {
    let Some((unit, set)) = header.split_once('=') else { return Part::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Part::Whole;
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More than there can be is as good as the most there can be.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Some(last) => size.saturating_sub(last)..size,
            None => return Part::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..size,
            None => return Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
            _ => return Part::Whole,
        },
    };
    if range.start < range.end { Part::Some(range) } else { Part::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_taken_and_nothing_else() {
        let cases = [
            ("bytes=0-0", Part::Some(0..1)),
            ("bytes=2-4", Part::Some(2..5)),
            ("bytes=2-99", Part::Some(2..10)),
            ("bytes=7-", Part::Some(7..10)),
            ("bytes=-3", Part::Some(7..10)),
            ("bytes=-99", Part::Some(0..10)),
            ("Bytes = 1-2", Part::Some(1..3)),
            ("bytes=0-99999999999999999999999", Part::Some(0..10)),
            ("bytes=10-", Part::None),
            ("bytes=-0", Part::None),
            ("bytes=99999999999999999999999-", Part::None),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=4-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes", Part::Whole),
            ("", Part::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(part(header, 10), expected, "{header}");
        }
        assert_eq!(part("bytes=0-", 0), Part::None);
        assert_eq!(part("bytes=-5", 0), Part::None);
    }

    #[test]
    fn a_name_cannot_speak_in_a_header() {
        assert_eq!(
            spelled("a b\r\nSet-Cookie: x\"é.txt"),
            "a%20b%0D%0ASet-Cookie%3A%20x%22%C3%A9.txt"
        );
    }
}
