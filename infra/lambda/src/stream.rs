//! A route whose answer is streamed, behind a URL of its own.
//!
//! What holds here: a stream ends by itself before its function's time does, and a client comes back
//! with the id it saw last. That time is short, because nobody tells a function that its client has
//! gone: it works, and costs, until then.

use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Response};
use futures::StreamExt;
use futures::stream::poll_fn;
use gate::{Function, Gate, Route};
use lambda_http::{Context, Request, RequestExt};
use tracing::{Instrument, Span};

use crate::http::Door;
use crate::invocation::left;
use crate::ports::Wanted;
use crate::process::Process;
use crate::{Error, ports};

/// What is kept back of an invocation's time, to end what is streamed.
const RESERVE: Duration = Duration::from_secs(5);

/// Serves `route` as `function` for as long as the process lives.
pub(crate) async fn serve(
    process: Process,
    function: &'static Function,
    route: Route,
) -> Result<(), Error> {
    let app = ports::app(&process, &Wanted::of_function(function)).await?;
    let gate = Gate::with_tickets(app.clone());
    let door = Door::new(process, app, &gate, route);
    let service = lambda_http::service_fn(move |request: Request| {
        let door = door.clone();
        async move { Ok::<_, Error>(begin(&door, request).await) }
    });
    lambda_http::streaming_runtime(service).run().await
}

async fn begin(door: &Door, mut request: Request) -> Response<Body> {
    present(&mut request);
    let (context, started) = (request.lambda_context(), Instant::now());
    let span = door.process.telemetry.span(door.process.handler(), &context);
    let begun = async {
        let response = door.pass(request, &context).await;
        door.told(&response, started);
        response
    };
    let response = begun.instrument(span.clone()).await;
    response.map(|body| within(&door.process, body.into_data_stream(), context, span))
}

/// Takes a ticket out of the query and presents it: who follows a redirect can send no header, and
/// says no more than its address.
fn present(request: &mut Request) {
    let query = request.uri().query().unwrap_or_default();
    let (tickets, rest): (Vec<_>, Vec<_>) =
        query.split('&').partition(|part| part.starts_with("ticket="));
    let Some(ticket) = tickets.first().and_then(|part| part.strip_prefix("ticket=")) else {
        return;
    };
    let bearer = HeaderValue::from_str(&format!("Bearer {ticket}"));
    let path = format!("{}?{}", request.uri().path(), rest.join("&"));
    if let (Ok(bearer), Ok(uri)) = (bearer, path.parse()) {
        request.headers_mut().insert(AUTHORIZATION, bearer);
        *request.uri_mut() = uri;
    }
}

/// What `body` has to say within the time of its invocation, with whose log it is in every line.
fn within(process: &Process, body: BodyDataStream, context: Context, span: Span) -> Body {
    let (clock, telemetry) = (process.clock.clone(), process.telemetry.clone());
    let time = left(&*clock, &context, RESERVE);
    let end = async move {
        clock.wait(time).await;
    };
    let flushed = futures::stream::once(async move { telemetry.flush(&context) });
    let body = body.take_until(Box::pin(end)).map(Some).chain(flushed.map(|()| None));
    let mut body = Box::pin(body.filter_map(std::future::ready));
    Body::from_stream(poll_fn(move |task| span.in_scope(|| body.poll_next_unpin(task))))
}
