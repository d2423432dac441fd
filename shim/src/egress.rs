//! The container's only way out, as a stream of bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use wire::shim::Egress;

/// A connection to egress, whichever way it goes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects.
pub(crate) async fn connect(egress: &Egress) -> io::Result<Box<dyn Stream>> {
    Ok(match egress {
        Egress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Egress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Frames are small and each is waited for.
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// What a request says its host is.
pub(crate) fn host(egress: &Egress) -> &str {
    match egress {
        Egress::Unix(_) => "egress",
        Egress::Tcp(address) => address,
    }
}
