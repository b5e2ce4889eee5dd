//! The end of listening sockets at an address that another process has taken over: which of the sockets there the kernel
//! gives new connections to.
//!
//! Sockets at one address with SO_REUSEPORT are a group, in the order in which they began to listen. When one is closed the
//! last one takes its place. So ours are the first ones, those of the process that follows are behind them, and stay
//! there until all of ours are closed. Where an index names no socket the kernel chooses by itself.
//!
//! The unsafe call is `setsockopt` with `SO_ATTACH_REUSEPORT_CBPF`, which socket2 has no function for. The kernel only
//! reads the program that the argument names; both live as long as the call.
#![expect(unsafe_code, reason = "a socket option without a safe function: see the head of this file")]

use std::os::fd::{AsFd, AsRawFd};
use std::{io, ptr};

/// Where new connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// To any of as many sockets as there are of ours, behind those.
    ToAllOthers,
    /// To the first one behind ours, which stays there while ours are closed.
    ToOneOther,
    /// To any.
    Free,
}

/// Has the kernel choose so in the group of `socket`, of which the first `own` are ours. Where it has no such option, or an
/// old one, all is as before: it chooses by itself.
pub(crate) fn steer(socket: &impl AsFd, own: u32, course: Course) {
    drop(attach(socket, &mut program(own, course)));
}

/// See bpf(4) for the instructions; the random number is an extension of Linux (`linux/filter.h`).
fn program(own: u32, course: Course) -> Vec<libc::sock_filter> {
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    match course {
        Course::ToAllOthers => vec![
            // A random number,
            step(0x20, RANDOM),
            // what is left of it divided by the count,
            step(0x94, own),
            // behind our own,
            step(0x04, own),
            // is the index.
            step(0x16, 0),
        ],
        Course::ToOneOther => vec![step(0x06, own)],
        Course::Free => vec![step(0x06, u32::MAX)],
    }
}

fn attach(socket: &impl AsFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let argument = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            ptr::from_ref(&argument).cast(),
            size_of_val(&argument) as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SKF_AD_OFF + SKF_AD_RANDOM`.
const RANDOM: u32 = 0xffff_f038;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::listen::bind;

    /// How many of 64 connections each of the sockets gets.
    fn spread(sockets: &[&[TcpListener]]) -> Vec<usize> {
        let address = sockets[0][0].local_addr().expect("it listens");
        let clients: Vec<_> =
            (0..64).map(|_| TcpStream::connect(address).expect("somebody listens")).collect();
        let count = |socket: &TcpListener| std::iter::from_fn(|| socket.accept().ok()).count();
        let counts: Vec<_> = sockets.iter().flat_map(|own| own.iter().map(count)).collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        counts
    }

    #[test]
    fn connections_go_to_those_that_follow_until_all_are_closed() {
        let open = |port| {
            let listening = bind::bind((Ipv4Addr::LOCALHOST, port).into(), 2).expect("it is free");
            listening.into_iter().map(|one| one.socket).collect::<Vec<_>>()
        };
        let mut own = open(0);
        let others = open(own[0].local_addr().expect("it listens").port());
        assert!(attach(&own[0], &mut program(2, Course::ToAllOthers)).is_ok(), "the kernel knows the option");
        let counts = spread(&[&own, &others]);
        assert!(counts[..2] == [0, 0] && counts[2] > 0 && counts[3] > 0, "{counts:?}");
        steer(&own[1], 2, Course::ToOneOther);
        while !own.is_empty() {
            let counts = spread(&[&own, &others]);
            assert!(counts[..own.len()].iter().all(|count| *count == 0), "{counts:?}");
            own.remove(0);
        }
        steer(&others[0], 2, Course::Free);
        let counts = spread(&[&others]);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}
