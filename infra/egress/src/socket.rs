//! What every TCP connection of egress is set to.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// How long what was sent may go unacknowledged, and how long a silent peer goes unasked.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
const UNASKED: Duration = Duration::from_secs(30);

/// Sends at once, and notices a peer that is gone without a word: its machine, or what lies between.
pub(crate) fn tend(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, UNASKED)?;
    sockopt::set_tcp_keepintvl(stream, UNASKED / 3)?;
    let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}
