//! An address where nobody listens, and where nobody else can begin to.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port that is taken and that nobody accepts at: who connects is refused. A port that was only free a moment ago may
/// be given to any other socket of the machine. Who sets `SO_REUSEADDR`, as the scripted upstreams do, can listen there.
#[derive(Debug)]
pub struct Nobody {
    socket: Socket,
    address: SocketAddr,
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}

impl Nobody {
    /// Takes a port that the system chooses.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
        socket.set_reuse_address(true).expect("the system takes the option");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { socket, address: address.expect("it is bound") }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Somebody, from now on.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn listen(self) -> TcpListener {
        self.socket.listen(16).expect("the port is its own");
        self.socket.into()
    }
}
