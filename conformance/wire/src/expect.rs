//! Tables of cases: bytes, and what may come of them.

use tidegate_testkit::{Received, State};

use crate::lab::{Lab, Observation};

/// Bytes with a name and what is expected of them.
#[derive(Debug)]
pub struct Case {
    /// Unique in its table.
    pub name: &'static str,
    /// Sent one after the other as segments of their own.
    pub pieces: Vec<Vec<u8>>,
    /// What may come of it.
    pub expect: Expect,
}

/// What may come of a case. In each of them no request that the gateway did not see reaches the upstream, and no
/// message there is malformed.
#[derive(Debug, Clone)]
pub enum Expect {
    /// Nothing reaches the upstream; the status is one of these (empty: any error, or closed without one), and the
    /// connection is closed afterwards.
    Refused(&'static [u16]),
    /// No complete request reaches the upstream (its beginning may); the client gets an error, or the connection is
    /// closed.
    Broken,
    /// Exactly one request reaches the upstream, with this target and body; it is answered with 200.
    Forwarded {
        /// The request target.
        target: &'static str,
        /// The body without framing.
        body: &'static str,
    },
    /// [`Expect::Refused`] with any status, or [`Expect::Broken`], or exactly one complete request with this target.
    Either {
        /// The request target.
        target: &'static str,
    },
    /// The gateway's own answer with this status; nothing reaches the upstream. The connection may stay.
    Answered(&'static [u16]),
}

impl Case {
    /// A case in one piece.
    pub fn new(name: &'static str, bytes: impl Into<Vec<u8>>, expect: Expect) -> Self {
        Self { name, pieces: vec![bytes.into()], expect }
    }

    fn check(&self, seen: &Observation) -> Result<(), String> {
        let complete: Vec<&Received> = seen.requests.iter().filter(|r| r.state == State::Complete).collect();
        if let Some(bad) = seen.requests.iter().find(|r| matches!(r.state, State::Malformed(_))) {
            return Err(format!("malformed upstream: {:?}", bad.state));
        }
        if let Some(bad) = seen.requests.iter().find(|r| r.target().starts_with("/admin")) {
            return Err(format!("smuggled past the gateway: {} {:?}", bad.target(), bad.state));
        }
        if complete.len() > 1 {
            return Err(format!("{} requests upstream", complete.len()));
        }
        let first = seen.responses.first();
        let status = first.map(|r| r.status);
        let error = status.is_none_or(|s| s >= 400);
        match &self.expect {
            Expect::Refused(statuses) => {
                none(&seen.requests)?;
                let stated = status.map_or(statuses.is_empty(), |s| {
                    s >= 400 && (statuses.is_empty() || statuses.contains(&s))
                });
                ensure(stated, || format!("status {status:?} instead of {statuses:?}"))?;
                ensure(!seen.kept_alive, || "the connection stayed usable".to_owned())
            }
            Expect::Answered(statuses) => {
                none(&seen.requests)?;
                ensure(status.is_some_and(|s| statuses.contains(&s)), || {
                    format!("status {status:?} instead of {statuses:?}")
                })
            }
            Expect::Broken => {
                ensure(complete.is_empty(), || format!("complete upstream: {}", complete[0].target()))?;
                ensure(error && !seen.kept_alive, || {
                    format!("status {status:?}, usable: {}", seen.kept_alive)
                })
            }
            Expect::Forwarded { target, body } => forwarded(seen, &complete, target, body),
            Expect::Either { target } => match complete.as_slice() {
                [request] => ensure(request.target() == *target, || format!("target {:?}", request.target())),
                _ => ensure(error, || format!("nothing upstream but status {status:?}")),
            },
        }
    }
}

/// Runs a table and reports every case that went another way.
///
/// # Panics
/// If there is one.
pub fn run(lab: &Lab, cases: &[Case]) {
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let method = if case.pieces[0].starts_with(b"HEAD ") { "HEAD" } else { "GET" };
            let seen = lab.observe(&case.pieces, method, 1);
            case.check(&seen).err().map(|why| {
                let bytes = case.pieces.concat().escape_ascii().to_string();
                format!("{}: {why}\n    sent {}", case.name, &bytes[..bytes.len().min(400)])
            })
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn forwarded(seen: &Observation, complete: &[&Received], target: &str, body: &str) -> Result<(), String> {
    let status = seen.responses.first().map(|r| r.status);
    let [request] = complete else {
        return Err(format!("nothing upstream, status {status:?}, {:?}", seen.ended));
    };
    ensure(request.target() == target, || format!("target {:?}", request.target()))?;
    ensure(request.body == body.as_bytes(), || format!("body {:?}", String::from_utf8_lossy(&request.body)))?;
    ensure(status == Some(200), || format!("status {status:?}"))
}

fn none(requests: &[Received]) -> Result<(), String> {
    match requests.first() {
        Some(request) => Err(format!("upstream got {} ({:?})", request.target(), request.state)),
        None => Ok(()),
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
