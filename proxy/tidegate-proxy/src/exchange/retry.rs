//! Whether, when and how an attempt is repeated. What happens once an attempt has failed is out of line.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate_config::plan::{Retries, RetryOn};

use crate::exchange::Exchange;
use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::backoff;
use crate::upstream::member::Member;
use crate::upstream::pool::{Permit, Pool, Stop};
use crate::upstream::send::{Answer, Message};

/// Attempts that one request may make at most, whatever the rule says: servers that were tried are remembered.
const ATTEMPTS: u32 = 16;
/// How often a request may find that its connection had ended before; these are no attempts.
const STALE: u32 = 32;
/// The field by which a request says when it is repeated.
const RETRY_ON: &str = "x-tidegate-retry-on";
/// gRPC's status, in a head where there are no messages.
const GRPC_STATUS: &str = "grpc-status";

/// What a request may still try.
pub(super) struct Attempts<'a> {
    pub(super) rule: &'a Retries,
    pub(super) allowed: u32,
    /// The method does not matter.
    any_method: bool,
    stale: u32,
    /// Servers that were tried.
    pub(super) tried: Vec<usize>,
    /// Conditions that the request itself names.
    on: Option<Vec<RetryOn>>,
    permit: Option<Permit>,
}

/// Why an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Failed(Reason),
    Status(StatusCode),
    Grpc(u8),
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason.word()),
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Grpc(status) => write!(f, "grpc {status}"),
        }
    }
}

/// What the access log says of a request with several attempts.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Where the attempts before the last one were, and why they were not the last.
    pub(crate) earlier: Vec<(Option<SocketAddr>, Cause)>,
    /// Why there was no further attempt.
    pub(crate) stopped: Option<Stop>,
    /// Attempts beside others.
    pub(crate) hedges: u32,
    /// The answer is of one of them.
    pub(crate) won: bool,
}

impl<'a> Attempts<'a> {
    /// Looks at what the rule says and, where it may, the request.
    pub(super) fn new(rule: &'a Retries, message: &mut Message) -> Self {
        let mut attempts = Self {
            rule,
            allowed: rule.attempts.min(ATTEMPTS),
            any_method: rule.non_idempotent || message.head.method.is_idempotent(),
            stale: 0,
            tried: Vec::new(),
            on: None,
            permit: None,
        };
        if rule.by_header {
            attempts.on = named(message);
        }
        match rule.body_limit {
            Some(limit) if limit > 0 && (attempts.allowed > 0 || rule.hedge.is_some()) => {
                message.keep_body(limit);
            }
            Some(_) => {}
            None => message.may_go_unseen(),
        }
        attempts
    }

    /// Whether attempts beside others may be made.
    pub(super) fn may_hedge(&self) -> bool {
        self.rule.hedge.is_some() && self.any_method
    }

    fn on(&self) -> &[RetryOn] {
        self.on.as_deref().unwrap_or(&self.rule.on)
    }

    /// Why the rule wants another attempt after this outcome, if it does and that is safe.
    #[inline]
    pub(super) fn cause(&self, outcome: &Result<Answer, Fail>) -> Option<Cause> {
        match outcome {
            Ok(answer) => self.cause_of_answer(answer),
            Err(fail) => self.cause_of_failure(fail),
        }
    }

    fn cause_of_answer(&self, answer: &Answer) -> Option<Cause> {
        let status = answer.response.status();
        self.on()
            .iter()
            .find_map(|on| match on {
                RetryOn::Status(wanted) if *wanted == status.as_u16() => Some(Cause::Status(status)),
                RetryOn::ServerErrors if status.is_server_error() => Some(Cause::Status(status)),
                // Who names a status of gRPC knows that its calls are POST requests.
                RetryOn::Grpc(wanted) => {
                    let own = answer.response.headers().get(GRPC_STATUS)?;
                    (own.to_str().ok()?.parse() == Ok(*wanted)).then_some(Cause::Grpc(*wanted))
                }
                _ => None,
            })
            .filter(|cause| self.any_method || matches!(cause, Cause::Grpc(_)))
    }

    #[cold]
    fn cause_of_failure(&self, fail: &Fail) -> Option<Cause> {
        let safe = match fail.retry {
            Retry::Stale | Retry::Safe => true,
            Retry::Idempotent => self.any_method,
            Retry::Never => false,
        };
        let unseen = fail.retry.is_of_unseen();
        let wanted = match fail.reason {
            Reason::Connect => self.on().contains(&RetryOn::Connect),
            // What no server has seen is not lost because of a connection.
            Reason::Reset => unseen || self.on().contains(&RetryOn::Reset),
            // What ended the connection may have been the answer to another request on it.
            Reason::Garbage => self.on().contains(&RetryOn::Reset),
            Reason::Timeout => self.on().contains(&RetryOn::Timeout),
            _ => false,
        };
        (safe && wanted).then_some(Cause::Failed(fail.reason))
    }
}

/// What comes after an attempt.
pub(super) enum Next {
    /// It was the last one.
    Done,
    /// Another one, after this time.
    Again(Option<Duration>),
}

impl Exchange {
    /// What comes after an attempt whose outcome the rule wants to be repeated.
    #[cold]
    pub(super) fn next(
        &mut self,
        (pool, attempts): (&Rc<Pool>, &mut Attempts<'_>),
        (server, cause): (Option<&Member>, Cause),
        outcome: &Result<Answer, Fail>,
        message: &mut Message,
    ) -> Next {
        let reused = matches!(outcome, Err(fail) if fail.retry == Retry::Stale);
        if !message.is_whole() {
            if message.is_too_long() {
                self.tries().stopped = Some(Stop::Body);
            }
            return Next::Done;
        }
        let unseen = matches!(outcome, Err(fail) if fail.retry.is_of_unseen());
        if message.is_for_unseen() && !unseen {
            return Next::Done;
        }
        if reused && attempts.stale < STALE {
            attempts.stale += 1;
            self.record.attempts = self.record.attempts.saturating_sub(1);
            message.renew();
            return Next::Again(None);
        }
        if self.record.attempts > attempts.allowed {
            return Next::Done;
        }
        let wait = match self.wait_before_next(attempts, outcome) {
            Ok(wait) => wait,
            Err(stop) => return self.stopped(stop),
        };
        // The repetition before, if there was one, is over.
        attempts.permit = None;
        match pool.may_repeat() {
            Ok(permit) => attempts.permit = Some(permit),
            Err(stop) => return self.stopped(stop),
        }
        self.note_earlier(server, cause);
        attempts.tried.extend(server.map(Member::id));
        message.renew();
        Next::Again(wait)
    }

    fn stopped(&mut self, stop: Stop) -> Next {
        self.tries().stopped = Some(stop);
        Next::Done
    }

    /// For the access log: an attempt that is not the last one.
    pub(super) fn note_earlier(&mut self, server: Option<&Member>, cause: Cause) {
        let address = server.map(|server| server.identity.address);
        self.tries().earlier.push((address, cause));
    }

    pub(super) fn tries(&mut self) -> &mut Tries {
        self.record.tries.get_or_insert_default()
    }

    /// The wait that the server asks for, or one that grows with each failure.
    fn wait_before_next(
        &self,
        attempts: &Attempts<'_>,
        outcome: &Result<Answer, Fail>,
    ) -> Result<Option<Duration>, Stop> {
        let local = &self.record.client.local;
        let asked = outcome
            .as_ref()
            .ok()
            .and_then(|answer| retry_after(answer.response.headers(), local.clock.wall()));
        match asked {
            Some(asked) if asked > attempts.rule.retry_after => Err(Stop::RetryAfter),
            Some(asked) => Ok(Some(asked)),
            None => Ok(backoff::before_retry(attempts.rule, attempts.tried.len() + 1, &local.random)),
        }
    }

    /// Waits before another attempt, within the request's time.
    pub(super) async fn pause(&self, wait: Duration) -> Result<(), Fail> {
        self.wait(async {
            tokio::time::sleep(wait).await;
            Ok(())
        })
        .await
    }
}

/// The conditions that a request names, which no server is to see. Words that nobody knows are passed over.
#[cold]
fn named(message: &mut Message) -> Option<Vec<RetryOn>> {
    if !message.head.headers.contains_key(RETRY_ON) {
        return None;
    }
    let value = Rc::make_mut(&mut message.head).headers.remove(RETRY_ON)?;
    let words = value.to_str().unwrap_or_default().split(',').map(str::trim);
    Some(words.filter_map(RetryOn::parse).take(ATTEMPTS as usize).collect())
}

/// The wait that an answer asks for (RFC 9110, 10.2.3). `wall`: the time since 1970.
fn retry_after(headers: &HeaderMap, wall: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(at.saturating_sub(wall))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str, wall: u64) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).expect("a value"))]);
        retry_after(&headers, Duration::from_secs(wall)).map(|wait| wait.as_secs())
    }

    #[test]
    fn servers_ask_for_time_by_seconds_or_a_date() {
        assert_eq!(asked("2", 0), Some(2));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 5), Some(5));
        assert_eq!(asked("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800 - 1), Some(1));
        assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT", 99), Some(0));
        for bad in ["", "soon", "-1", "1.5", "Sun, 40 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn causes_are_told_in_the_words_of_the_log() {
        let causes =
            [Cause::Failed(Reason::Connect), Cause::Status(StatusCode::BAD_GATEWAY), Cause::Grpc(14)];
        assert_eq!(causes.map(|cause| cause.to_string()), ["upstream_connect", "502", "grpc 14"]);
    }
}
