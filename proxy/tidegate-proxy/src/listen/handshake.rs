//! What is counted of TLS handshakes with clients.

use std::io;

use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConnection};

use crate::shared::{ListenerCells, TLS_FAILURES};

/// A handshake is done.
pub(super) fn count(cells: &ListenerCells, session: &ServerConnection) {
    let version = usize::from(session.protocol_version() != Some(ProtocolVersion::TLSv1_2));
    if let Some(counter) = cells.handshakes.get(version) {
        counter.add(1);
    }
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        cells.resumed.add(1);
    }
}

/// A handshake failed; no error: it took too long.
pub(super) fn count_failure(cells: &ListenerCells, error: Option<&io::Error>) {
    let word = error.map_or("timeout", word);
    let place = TLS_FAILURES.iter().position(|known| *known == word);
    if let Some(counter) = place.and_then(|place| cells.handshake_failures.get(place)) {
        counter.add(1);
    }
}

/// One of [`TLS_FAILURES`].
fn word(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return "closed";
    };
    match error {
        Error::AlertReceived(_) => "alert",
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(_) => "bad_certificate",
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => "incompatible",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => "malformed",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_word() {
        let of = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (io::Error::from(io::ErrorKind::UnexpectedEof), "closed"),
            (of(Error::NoCertificatesPresented), "no_certificate"),
            (of(Error::AlertReceived(rustls::AlertDescription::UnknownCA)), "alert"),
            (of(Error::General("x".into())), "other"),
        ] {
            assert_eq!(word(&error), expected, "{error}");
            let cells = ListenerCells::default();
            count_failure(&cells, Some(&error));
            let counted: Vec<_> = cells.handshake_failures.iter().map(|counter| counter.value()).collect();
            let place = TLS_FAILURES.iter().position(|known| *known == expected);
            assert_eq!((counted.iter().sum::<u64>(), place.and_then(|at| counted.get(at))), (1, Some(&1)));
        }
    }
}
