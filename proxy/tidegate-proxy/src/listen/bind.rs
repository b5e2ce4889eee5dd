//! Opens listening sockets: one for each worker at the same address, so that the kernel spreads connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// One of this process' listening sockets at an address.
#[derive(Debug)]
pub(crate) struct Listening {
    /// It.
    pub(crate) socket: TcpListener,
    /// How many there are; whoever gives it up last closes the last one.
    pub(crate) own: Arc<u32>,
}

/// One socket for each of `workers` at `address`; port 0 is one free port for all of them.
///
/// # Errors
/// What the system says, for example that the address is in use. Nothing stays open then.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<Listening>> {
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(listen(address)?);
    }
    let own = Arc::new(u32::try_from(workers).unwrap_or(u32::MAX));
    Ok(sockets.into_iter().map(|socket| Listening { socket, own: own.clone() }).collect())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that is about to be closed takes no further connection: what came between the last accept and the close would
/// be reset. Whoever asks meanwhile is not answered, asks again, and then finds the socket of another process, or none.
pub(crate) fn turn_away(socket: &TcpListener) {
    // Where the system has no filters all is as before.
    let _ = SockRef::from(socket)
        .attach_filter(&NO_SYN.map(|(code, jt, jf, k)| SockFilter::new(code, jt, jf, k)));
}

/// Drops segments with SYN and without ACK; see bpf(4) for the instructions, RFC 9293, 3.1 for the flags.
const NO_SYN: [(u16, u8, u8, u32); 5] = [
    // The byte of the flags,
    (0x30, 0, 0, 13),
    // of which SYN and ACK
    (0x54, 0, 0, 0x12),
    // are just SYN:
    (0x15, 0, 1, 0x02),
    // none of it is kept,
    (0x06, 0, 0, 0),
    // else all.
    (0x06, 0, 0, u32::MAX),
];
