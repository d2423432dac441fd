//! The way out, for programs that know only TCP: a port of the agent's own loopback interface, and
//! behind it the socket that leads to egress. What egress refuses is refused here, too.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::Builder;

use super::stage::{Failure, at};

/// Where model endpoints are found. The interface is the agent's own, so nobody else has the port.
pub(crate) const ADDRESS: &str = "127.0.0.1:7301";

/// What a direction needs.
const STACK: usize = 64 << 10;

pub(super) struct Doorway {
    listener: TcpListener,
    socket: PathBuf,
}

impl Doorway {
    /// Listens, while the agent has not begun.
    pub(super) fn open(socket: &Path) -> Result<Self, Failure> {
        let listener = TcpListener::bind(ADDRESS).map_err(at("the doorway"))?;
        Ok(Self { listener, socket: socket.to_owned() })
    }

    /// Lets through, for as long as this process lives. Its threads count among the agent's.
    pub(super) fn serve(self) {
        let serving = move || {
            for stream in self.listener.incoming().flatten() {
                let socket = self.socket.clone();
                // An agent that has too many threads is not let through.
                drop(spawn(move || drop(relay(&stream, &socket))));
            }
        };
        drop(spawn(serving));
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
    Builder::new().stack_size(STACK).spawn(work)
}

fn relay(near: &TcpStream, socket: &Path) -> io::Result<()> {
    near.set_nodelay(true)?;
    let far = UnixStream::connect(socket)?;
    let (mut from_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
    let back = spawn(move || {
        drop(io::copy(&mut from_near, &mut to_far));
        drop(to_far.shutdown(Shutdown::Write));
    })?;
    drop(io::copy(&mut &far, &mut &*near));
    near.shutdown(Shutdown::Both)?;
    far.shutdown(Shutdown::Both)?;
    back.join().map_err(|_| io::Error::other("a direction ended early"))
}
