//! The client's side by HTTP/1.1, byte by byte.

use std::net::SocketAddr;

use tidegate_testkit::message::read_response;
use tidegate_testkit::{RawClient, ReadError};

use super::{ANSWER, Pace};
use crate::envoy::cases::Case;
use crate::envoy::certificates::ISSUED;
use crate::envoy::config;
use crate::envoy::observe::{Outcome, compared};

/// Sends the case's request and reads its answer.
pub(crate) fn exchange(address: SocketAddr, case: &Case, pace: &Pace) -> Outcome {
    let Some(mut client) = connect(address, case) else {
        return Outcome { body: "no handshake".to_owned(), broken: true, ..Outcome::default() };
    };
    let has_body = case.method == "POST";
    client.send(head(case, pace.id()));
    pace.wait("rqh", 1);
    let mut spoken = 0;
    for piece in &case.pieces {
        let bytes = match case.sized {
            true => (*piece).to_owned(),
            false => format!("{:x}\r\n{piece}\r\n", piece.len()),
        };
        client.send(bytes);
        spoken += 1;
        pace.wait("rqb", spoken);
    }
    if has_body && !case.sized {
        let trailers: String =
            case.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("0\r\n{trailers}\r\n"));
    }
    let wire = client.wire();
    wire.renew(ANSWER);
    match read_response(wire, case.method) {
        Ok(response) => Outcome {
            status: Some(response.status),
            headers: compared(&response.headers.0),
            body: String::from_utf8_lossy(&response.body).into_owned(),
            trailers: compared(&response.trailers.0),
            broken: false,
        },
        Err(ReadError::Malformed(why)) => {
            Outcome { body: format!("malformed: {why}"), broken: true, ..Outcome::default() }
        }
        Err(_) => Outcome { broken: true, ..Outcome::default() },
    }
}

/// A connection, over TLS where the listener speaks it; nothing when hands are not shaken.
fn connect(address: SocketAddr, case: &Case) -> Option<RawClient> {
    if case.listener != config::CERTIFICATE {
        return Some(RawClient::connect(address));
    }
    let authority = &ISSUED.authority;
    let connected = match case.certificate {
        Some(name) => RawClient::connect_with(address, authority, "a.test", ISSUED.of(name)),
        None => RawClient::connect_tls(address, authority, "a.test", &["http/1.1"]),
    };
    connected.ok()
}

fn head(case: &Case, id: &str) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: a.test\r\nx-case: {id}\r\n", case.method, case.target);
    for (name, value) in &case.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if case.method == "POST" {
        match case.sized {
            true => head += &format!("content-length: {}\r\n", case.pieces.concat().len()),
            false => head += "transfer-encoding: chunked\r\n",
        }
        let names: Vec<&str> = case.trailers.iter().map(|(name, _)| *name).collect();
        if !names.is_empty() {
            head += &format!("trailer: {}\r\nte: trailers\r\n", names.join(", "));
        }
    } else {
        head += "te: trailers\r\n";
    }
    head += "\r\n";
    // A case's text is Latin-1: one character is one byte.
    head.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}
