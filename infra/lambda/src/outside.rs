//! What is said over HTTP to whoever is no service of AWS.

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Error;

/// Who says it, with connections of its own: it trusts whom the machine trusts, and follows nothing.
pub(crate) fn client() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, Error> {
    let connector =
        HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}
