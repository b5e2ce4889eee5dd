//! Where the admin API listens: an address, in clear text or by TLS, a Unix socket, or both.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use tidegate_config::plan;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::access::Way;
use super::places::{Place, Places};
use super::{Shown, serve};

/// What listens now.
#[derive(Default)]
pub(super) struct Sockets {
    tcp: Option<Bound<SocketAddr>>,
    unix: Option<Bound<PathBuf>>,
    /// What is spoken at the address.
    tls: watch::Sender<Tls>,
}

/// How handshakes are made; none: clear text.
type Tls = Option<Arc<ServerConfig>>;

/// A place at which connections are accepted.
struct Bound<P> {
    /// As configured; a port may be 0.
    configured: P,
    actual: P,
    accepting: AbortHandle,
}

/// What is bound already for a new configuration.
pub(super) struct Change {
    tcp: To<(SocketAddr, TcpListener)>,
    unix: To<(PathBuf, UnixListener)>,
}

/// What becomes of a place.
enum To<T> {
    Keep,
    Close,
    Open(T),
}

impl Sockets {
    /// Binds what is not bound yet.
    pub(super) fn prepare(&self, settings: &plan::Admin) -> Result<Change> {
        let tcp = match settings.address {
            None => To::Close,
            Some(address) if self.tcp.as_ref().is_some_and(|bound| bound.configured == address) => To::Keep,
            Some(address) => To::Open((address, bind_tcp(address)?)),
        };
        let unix = match &settings.socket {
            None => To::Close,
            Some(path) if self.unix.as_ref().is_some_and(|bound| bound.configured == *path) => To::Keep,
            Some(path) => To::Open((path.clone(), bind_unix(path)?)),
        };
        Ok(Change { tcp, unix })
    }

    /// Has new connections to the address speak this; others end, since they are of clients that would not be let in now.
    pub(super) fn speak(&self, tls: Tls) {
        self.tls.send_if_modified(|now| {
            let same = now.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr);
            *now = tls;
            !same
        });
    }

    /// Listens as was prepared.
    pub(super) fn switch(&mut self, change: Change, shown: &Rc<Shown>) {
        if !matches!(change.tcp, To::Keep) {
            self.tcp.take();
        }
        if let To::Open((configured, listener)) = change.tcp {
            let actual = listener.local_addr().unwrap_or(configured);
            let listening = tokio::net::TcpListener::from_std(listener).map(Listener::Tcp);
            if let Some(accepting) = begin(listening, &actual.to_string(), &self.tls, shown) {
                self.tcp = Some(Bound { configured, actual, accepting });
            }
        }
        if !matches!(change.unix, To::Keep)
            && let Some(bound) = self.unix.take()
            // The file may be another process's by now, but then it was told to take this place.
            && let Err(error) = fs::remove_file(&bound.actual)
        {
            warn!(path = %bound.actual.display(), %error, "the admin socket cannot be removed");
        }
        if let To::Open((path, listener)) = change.unix {
            let listening = tokio::net::UnixListener::from_std(listener).map(Listener::Unix);
            if let Some(accepting) = begin(listening, &path.display().to_string(), &self.tls, shown) {
                self.unix = Some(Bound { configured: path.clone(), actual: path, accepting });
            }
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|bound| bound.actual)
    }
}

impl<P> Drop for Bound<P> {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if let Some(bound) = &self.unix {
            // It is of no use to anyone when this process is gone.
            drop(fs::remove_file(&bound.actual));
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("cannot listen at {address} for the admin API"))
}

/// A socket that a process left behind which is gone is replaced; anything else at the path stays.
fn bind_unix(path: &Path) -> Result<UnixListener> {
    let what = || format!("cannot listen at {} for the admin API", path.display());
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("{}: there is a file that is no socket", what());
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).with_context(what)?;
            }
            _ => bail!("{}: another process listens there", what()),
        }
    }
    let listener = UnixListener::bind(path).with_context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).with_context(what)?;
    listener.set_nonblocking(true).with_context(what)?;
    Ok(listener)
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

fn begin(
    listening: io::Result<Listener>,
    place: &str,
    tls: &watch::Sender<Tls>,
    shown: &Rc<Shown>,
) -> Option<AbortHandle> {
    match listening {
        Ok(listener) => {
            info!(address = place, "admin API listening");
            Some(spawn_local(accept(listener, tls.subscribe(), Rc::clone(shown))).abort_handle())
        }
        Err(error) => {
            warn!(address = place, %error, "the admin API cannot accept connections");
            None
        }
    }
}

async fn accept(listener: Listener, tls: watch::Receiver<Tls>, shown: Rc<Shown>) {
    let places = Places::new(MOST_CONNECTIONS);
    let mut told: Option<Instant> = None;
    loop {
        let shown = Rc::clone(&shown);
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let (place, tls) = (places.take(), tls.clone());
                spawn_local(async move {
                    tokio::select! {
                        () = serve_tcp(stream, tls, shown, &place) => {}
                        () = place.wanted() => {}
                    }
                    place.free();
                });
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let place = places.take();
                spawn_local(async move {
                    tokio::select! {
                        () = serve(stream, Way::Socket, std::future::pending(), shown, &place) => {}
                        () = place.wanted() => {}
                    }
                    place.free();
                });
            }),
        };
        if let Err(error) = accepted {
            if told.is_none_or(|told| told.elapsed() >= TOLD) {
                warn!(%error, "the admin API cannot accept a connection");
                told = Some(Instant::now());
            }
            // Out of file descriptors, usually: trying again at once would only burn the CPU.
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Serves a connection to the address, as long as what it speaks is what the configuration says.
async fn serve_tcp(stream: TcpStream, mut tls: watch::Receiver<Tls>, shown: Rc<Shown>, place: &Rc<Place>) {
    let config = tls.borrow_and_update().clone();
    // An error means that nothing listens any more: it ends too.
    let over = async move { drop(tls.changed().await) };
    let Some(config) = config else { return serve(stream, Way::Address, over, shown, place).await };
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let certified = stream.get_ref().1.peer_certificates().is_some();
            serve(stream, if certified { Way::Certified } else { Way::Address }, over, shown, place).await;
        }
        Ok(Err(error)) => debug!(%error, "admin connection: TLS"),
        Err(_) => debug!("admin connection: no TLS handshake in time"),
    }
}

/// Longest time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Open connections to the address, and to the socket; a further one takes the place of another.
const MOST_CONNECTIONS: usize = 64;

/// The gateway's user and group may connect.
const SOCKET_MODE: u32 = 0o660;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often at most that is told.
const TOLD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("tidegate-admin-sockets-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let (socket, file) = (folder.join("s"), folder.join("f"));
        fs::write(&file, "mine").expect("it can be written");
        assert!(bind_unix(&file).expect_err("it is a file").to_string().contains("no socket"));
        let first = bind_unix(&socket).expect("nothing is there");
        assert!(bind_unix(&socket).expect_err("it is in use").to_string().contains("another process"));
        drop(first);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let _second = bind_unix(&socket).expect("nobody listens any more");
        assert_eq!(mode(&socket), SOCKET_MODE);
        fs::remove_dir_all(&folder).expect("it was made here");
    }
}
