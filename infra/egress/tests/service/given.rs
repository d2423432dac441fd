//! An egress in this process, and a shim's side of it.

use std::net::SocketAddr;

use egress::{Config, Control, Limits, Service, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "Bearer st_secret";

pub(crate) const MANY: Limits = Limits { per_peer: 100, total: 1000 };

pub(crate) struct Egress {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

impl Egress {
    pub(crate) async fn start(control: &str, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config { providers: Vec::new(), scripted: true, ..Config::default() };
        let service = Service::new(config, Control::new(control).unwrap(), limits).unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, service, stop.clone()));
        Self { address, stop, tasks }
    }
}

/// Connects as a shim does, with headers that nobody asked for.
pub(crate) async fn shim(
    egress: SocketAddr,
    authorization: Option<&str>,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{egress}/v1/shim").into_client_request()?;
    let headers = request.headers_mut();
    if let Some(authorization) = authorization {
        headers.insert("authorization", authorization.parse().unwrap());
    }
    headers.insert("cookie", "a=b".parse().unwrap());
    headers.insert("x-forwarded-for", "10.0.0.1".parse().unwrap());
    let stream = TcpStream::connect(egress).await?;
    Ok(client_async(request, stream).await?.0)
}

/// Connects and is let in.
pub(crate) async fn connected(egress: SocketAddr) -> WebSocketStream<TcpStream> {
    shim(egress, Some(TOKEN)).await.unwrap()
}

/// How the connection ended, past whatever else was said.
pub(crate) async fn end(shim: &mut WebSocketStream<TcpStream>) -> Option<u16> {
    use futures::StreamExt as _;
    loop {
        match shim.next().await? {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}
