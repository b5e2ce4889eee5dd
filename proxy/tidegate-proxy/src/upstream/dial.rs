//! One connection to a server that can be reached at several addresses: they are tried one beside the other, and the
//! first that answers is it (RFC 8305, "happy eyeballs").

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::upstream::course::{Course, noted, peer};
use crate::upstream::member::Member;

/// Connects to a server. The caller bounds the time.
pub(crate) async fn tcp(
    member: &Member,
    stagger: Duration,
    course: Option<&Course>,
) -> io::Result<TcpStream> {
    noted(course, "connect", async {
        let first = member.identity.address;
        let also = member.also();
        let tcp = match also.is_empty() {
            true => TcpStream::connect(first).await?,
            false => {
                let all = std::iter::once(first).chain(also).collect();
                Box::pin(race(all, stagger, |address| one(address, course))).await?
            }
        };
        if let (Some(course), Ok(address)) = (course, tcp.peer_addr()) {
            course.says(|span| span.attributes.extend(peer(address)));
        }
        tcp.set_nodelay(true)?;
        Ok(tcp)
    })
    .await
}

/// One of several addresses.
async fn one(address: SocketAddr, course: Option<&Course>) -> io::Result<TcpStream> {
    let Some(course) = course else { return TcpStream::connect(address).await };
    course.happened("connect.begins", address, None);
    let tcp = TcpStream::connect(address).await;
    if let Err(error) = &tcp {
        course.happened("connect.failed", address, Some(error.to_string()));
    }
    tcp
}

/// Addresses in the order in which they are tried: the first family first, then by turns (RFC 8305, section 4).
pub(crate) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (own, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(|one| one.is_ipv6() == first.is_ipv6());
    let (mut own, mut other) = (own.into_iter(), other.into_iter());
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(own.next());
        all.extend(other.next());
    }
    all
}

/// Tries the addresses in turn, each `stagger` after the one before or as soon as that has failed.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    stagger: Duration,
    mut connect: impl FnMut(SocketAddr) -> F,
) -> io::Result<T> {
    let mut left = addresses.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut failure = None;
    loop {
        match left.next() {
            Some(address) => running.push(Box::pin(connect(address))),
            None if running.is_empty() => {
                return Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
            }
            None => {}
        }
        match first(&mut running, (left.len() > 0).then_some(stagger)).await {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => failure = failure.or(Some(error)),
            None => {}
        }
    }
}

/// The first one that is over, which is taken out; none: this time has passed.
async fn first<T, F: Future<Output = io::Result<T>>>(
    running: &mut Vec<Pin<Box<F>>>,
    time: Option<Duration>,
) -> Option<io::Result<T>> {
    let mut timer = pin!(async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    });
    std::future::poll_fn(|cx| {
        let over = running.iter_mut().enumerate().find_map(|(index, one)| match one.as_mut().poll(cx) {
            Poll::Ready(outcome) => Some((index, outcome)),
            Poll::Pending => None,
        });
        match over {
            Some((index, outcome)) => {
                drop(running.swap_remove(index));
                Poll::Ready(Some(outcome))
            }
            None => timer.as_mut().poll(cx).map(|()| None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn port(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn families_take_turns() {
        let all = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::3]:1", "192.0.2.2:1"];
        let expected =
            ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "[2001:db8::3]:1"];
        assert_eq!(interleaved(&all.map(address)), expected.map(address));
        let expected = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"];
        assert_eq!(
            interleaved(&["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"].map(address)),
            expected.map(address)
        );
        assert!(interleaved(&[]).is_empty());
    }

    /// Ports stand for what happens there: 1 connects, 2 fails, others never end.
    fn raced(ports: &[u16], stagger: Duration) -> (Result<u16, String>, Vec<u16>) {
        let tried = RefCell::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push(address.port());
            async move {
                match address.port() {
                    1 => Ok(1),
                    2 => Err(io::Error::other("refused")),
                    _ => std::future::pending().await,
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let outcome = runtime.block_on(race(ports.iter().copied().map(port).collect(), stagger, connect));
        (outcome.map_err(|error| error.to_string()), tried.into_inner())
    }

    #[test]
    fn the_first_that_answers_wins() {
        let (soon, never) = (Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(raced(&[1, 1], never), (Ok(1), vec![1]));
        assert_eq!(raced(&[2, 1, 1], never), (Ok(1), vec![2, 1]), "a failure is not waited for");
        assert_eq!(raced(&[9, 2, 1], soon), (Ok(1), vec![9, 2, 1]), "nor is silence");
        assert_eq!(raced(&[2, 2], never), (Err("refused".to_owned()), vec![2, 2]));
        assert!(raced(&[], never).0.is_err());
    }
}
