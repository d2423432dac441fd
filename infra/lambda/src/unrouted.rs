//! What no route of the HTTP API takes.
//!
//! What holds here: whoever is at the wrong place is told so as on one machine, with a problem. A path
//! in another spelling, `{id}:verb` or `/api/v1/…`, for which a route of the gateway has no pattern, is
//! asked for again at the gateway in the spelling that it knows: with its client's method, headers and
//! body, and the answer is passed on as it came. So this function may do nothing at all, whoever asks
//! may do as much as before, and each function goes on with its own rights; the price is a second
//! request, of some milliseconds, for who spells like this.
//!
//! A request that is in the known spelling already is never made again: that would have no end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use app::App;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, Request, Response};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter};
use bytes::Bytes;
use gate::{Function, Gate};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::ProblemKind;

use crate::http::{Door, problem};
use crate::ports::{self, Wanted};
use crate::process::Process;
use crate::{Error, outside};

/// What is about one connection, and not about what is said on it.
const OF_THE_CONNECTION: [axum::http::HeaderName; 4] =
    [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING];

/// The gateway, as its clients see it.
struct Gateway {
    /// Where it answers, without a path.
    url: String,
    app: App,
    /// Made when the first request is to be made again: most are not.
    client: OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

/// How a request was spelled when it came.
#[derive(Clone, PartialEq, Eq)]
struct Came(Method, String);

/// Serves `function` for as long as the process lives.
pub(crate) async fn serve(process: Process, function: &'static Function) -> Result<(), Error> {
    let url = process.environment.api_url()?.trim_end_matches('/').to_owned();
    let app = ports::app(&process, &Wanted::of_function(function)).await?;
    let gateway = Gateway { url, app: app.clone(), client: OnceLock::new() };
    let known = known(::system::DOCUMENT)?.with_state(Arc::new(gateway));
    let router = api::refusing(known, &Gate::new(app.clone()));
    let door = Door::before(process, app, function.id, router);
    let service = lambda_http::service_fn(move |mut request: lambda_http::Request| {
        let door = door.clone();
        let came = Came(request.method().clone(), request.uri().path().to_owned());
        request.extensions_mut().insert(came);
        async move { Ok::<_, Error>(door.answer_whole(request).await) }
    });
    lambda_http::runtime(service).run().await
}

/// What of the document is of use here. It is read at each start, and the rest, which is most of it, is
/// passed over.
#[derive(Deserialize)]
struct Known<'a> {
    #[serde(borrow)]
    paths: BTreeMap<&'a str, BTreeMap<&'a str, &'a RawValue>>,
}

/// Takes every path and method that the document has.
fn known(document: &str) -> Result<Router<Arc<Gateway>>, Error> {
    let known: Known<'_> = serde_json::from_str(document)?;
    let mut router = Router::new();
    for (path, operations) in known.paths {
        let mut methods = MethodRouter::new();
        for verb in operations.into_keys() {
            let method: Method = verb.to_uppercase().parse()?;
            methods = methods.on(MethodFilter::try_from(method)?, again);
        }
        router = router.route(path, methods);
    }
    Ok(router)
}

/// Makes a request again in the spelling in which it is known.
async fn again(State(gateway): State<Arc<Gateway>>, mut request: Request<Body>) -> Response<Body> {
    // The gateway has no route for it: the head of an answer is that of the answer.
    if request.method() == Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    let now = Came(request.method().clone(), request.uri().path().to_owned());
    if request.extensions().get::<Came>() == Some(&now) {
        return problem(&gateway.app, ProblemKind::NoSuchRoute, "the route is not deployed");
    }
    match gateway.ask(request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "the gateway did not answer");
            let detail = "the request could not be passed on; try again";
            problem(&gateway.app, ProblemKind::Unavailable, detail)
        }
    }
}

impl Gateway {
    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let client = if let Some(client) = self.client.get() {
            client
        } else {
            let client = outside::client()?;
            self.client.get_or_init(|| client)
        };
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut again = Request::builder().method(parts.method).uri(format!("{}{path}", self.url));
        if let Some(headers) = again.headers_mut() {
            *headers = of_the_request(parts.headers);
        }
        let body = Full::new(body.collect().await?.to_bytes());
        let (head, body) = client.request(again.body(body)?).await?.into_parts();
        let mut response = Body::new(body).into_response();
        *response.status_mut() = head.status;
        *response.headers_mut() = of_the_request(head.headers);
        Ok(response)
    }
}

fn of_the_request(mut headers: HeaderMap) -> HeaderMap {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    headers
}
