//! HTTP/1.1 over the container's only way out, one connection per request.

pub(super) mod sse;

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use wire::shim::Egress;

use crate::egress;

/// How long egress may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an endpoint may think before it answers, and between two pieces of an answer.
const PATIENCE: Duration = Duration::from_mins(5);
/// The longest answer that is read as a whole.
const WHOLE: usize = 1024 * 1024;

/// Sends a request. A body makes it a POST.
pub(super) async fn send(
    egress: &Egress,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Response<Incoming>, String> {
    let say = |why: &dyn std::fmt::Display| why.to_string();
    let stream = match timeout(CONNECT, egress::connect(egress)).await {
        Ok(stream) => stream.map_err(|why| say(&why))?,
        Err(_) => return Err("no connection in time".to_owned()),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| say(&why))?;
    tokio::task::spawn_local(connection);
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, egress::host(egress))
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::<Bytes>::from(body.map(Value::to_string).unwrap_or_default()))
        .map_err(|why| say(&why))?;
    match timeout(PATIENCE, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|why| say(&why)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The next piece of an answer; none at its end.
pub(super) async fn piece(answer: &mut Response<Incoming>) -> Result<Option<Bytes>, String> {
    loop {
        match timeout(PATIENCE, answer.body_mut().frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(why))) => return Err(why.to_string()),
            Err(_) => return Err("the answer broke off".to_owned()),
        }
    }
}

/// The whole answer as JSON, null where it is none.
pub(super) async fn whole(answer: Response<Incoming>) -> Value {
    let body = Limited::new(answer.into_body(), WHOLE);
    match timeout(PATIENCE, body.collect()).await {
        Ok(Ok(body)) => serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null),
        Ok(Err(_)) | Err(_) => Value::Null,
    }
}
