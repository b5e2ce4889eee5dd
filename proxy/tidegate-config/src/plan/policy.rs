//! How long, how often and how much: what a rule says about time and further attempts, and an upstream about limits and
//! connections.

use std::time::Duration;

/// Time limits of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleTimeouts {
    /// From the request head to the last byte of the answer; none: no limit.
    pub request: Option<Duration>,
    /// From sending to the head of the answer, for each attempt; none: no limit.
    pub attempt: Option<Duration>,
    /// Longest wait without a byte in either direction (default 60 s).
    pub idle: Duration,
    /// From the head of the answer to its end, or to that of an upgraded connection; none: no limit.
    pub stream: Option<Duration>,
    /// Deadlines that requests bring are heeded and passed on.
    pub deadlines: Deadlines,
}

impl Default for RuleTimeouts {
    fn default() -> Self {
        let idle = Duration::from_secs(60);
        Self { request: None, attempt: None, idle, stream: None, deadlines: Deadlines::default() }
    }
}

/// Which deadlines of requests are heeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// `grpc-timeout` of gRPC calls.
    pub grpc: bool,
    /// `x-request-deadline` of any request.
    pub header: bool,
}

/// When an attempt is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts after the first (default 1).
    pub attempts: u32,
    /// On which outcomes (default connect and reset).
    pub on: Vec<RetryOn>,
    /// The first wait (default 25 ms); doubled each time.
    pub backoff_base: Duration,
    /// The longest wait (default 250 ms).
    pub backoff_max: Duration,
    /// A longer `retry-after` is no reason to wait: the answer is passed on (default 1 s).
    pub retry_after: Duration,
    /// Bytes of a request's body that are kept for further attempts (default 64 KiB); none: no retries are written, so
    /// only what servers of HTTP/2 leave unseen is kept, up to [`Retries::UNSEEN`].
    pub body_limit: Option<usize>,
    /// Requests whose method is not idempotent are repeated too.
    pub non_idempotent: bool,
    /// `x-tidegate-retry-on` of a request goes before `on`.
    pub by_header: bool,
    /// A further attempt beside one that takes long; none: never.
    pub hedge: Option<Hedge>,
}

impl Retries {
    /// Bytes of a body that are kept for a server that goes away without having looked at its request.
    pub const UNSEEN: usize = 64 << 10;
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: vec![RetryOn::Connect, RetryOn::Reset],
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            retry_after: Duration::from_secs(1),
            body_limit: None,
            non_idempotent: false,
            by_header: false,
            hedge: None,
        }
    }
}

/// A further attempt beside one that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// So long after the attempt before.
    pub after: Duration,
    /// So many beside the first (default 1).
    pub attempts: u32,
}

/// An outcome after which another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    Connect,
    /// The connection was lost before any byte of the answer.
    Reset,
    /// The attempt took too long.
    Timeout,
    /// Any status of 500 and more.
    ServerErrors,
    /// This status.
    Status(u16),
    /// This status of gRPC, in an answer without messages.
    Grpc(u8),
}

impl RetryOn {
    /// The conditions that have a word.
    pub const WORDS: [(&'static str, Self); 10] = [
        ("connect", Self::Connect),
        ("reset", Self::Reset),
        ("timeout", Self::Timeout),
        ("5xx", Self::ServerErrors),
        ("retriable4xx", Self::Status(409)),
        ("cancelled", Self::Grpc(1)),
        ("deadlineExceeded", Self::Grpc(4)),
        ("resourceExhausted", Self::Grpc(8)),
        ("internal", Self::Grpc(13)),
        ("unavailable", Self::Grpc(14)),
    ];

    /// What a word or a status says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let status = || text.parse().ok().filter(|status| (400..600).contains(status)).map(Self::Status);
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, on)| *on).or_else(status)
    }

    /// As it is written.
    #[must_use]
    pub fn word(self) -> String {
        let word = Self::WORDS.iter().find(|(_, on)| *on == self).map(|(word, _)| (*word).to_owned());
        match (self, word) {
            (Self::Status(status), _) => status.to_string(),
            (_, word) => word.unwrap_or_default(),
        }
    }
}

/// How many attempts of an upstream may be repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// This share of the requests of the last ten seconds, in percent (default 20).
    pub percent: f64,
    /// And so many a second in any case (default 3).
    pub min: u32,
}

/// Limits towards an upstream, each for the whole gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpstreamLimits {
    /// Connections (default 1,024).
    pub connections: usize,
    /// Requests that wait for a connection (default 1,024).
    pub pending: usize,
    /// Requests in flight (default 4,096).
    pub requests: usize,
    /// Repetitions in flight; none: no limit.
    pub retries: Option<usize>,
    /// A limit of requests in flight that follows the servers' latency; none: there is none.
    pub adaptive: Option<Adaptive>,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self { connections: 1024, pending: 1024, requests: 4096, retries: None, adaptive: None }
    }
}

/// A limit that follows latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// Never less on one worker (default 4).
    pub min: usize,
    /// Where it begins on one worker (default 20).
    pub start: usize,
    /// So much more latency than the best is no reason to let fewer requests through, in percent (default 25).
    pub tolerance: f64,
    /// How often it is set anew (default 100 ms).
    pub window: Duration,
    /// How often the best latency is measured anew (default 30 s).
    pub probe: Duration,
}

/// How connections to servers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections to each server that are opened ahead and kept (default 0).
    pub warm: usize,
    /// Requests at one time on an HTTP/2 connection (default 100).
    pub streams: u32,
    /// A connection takes no further request after that time; none: no limit.
    pub max_age: Option<Duration>,
    /// A connection takes so many requests; none: no limit.
    pub max_requests: Option<u64>,
    /// The addresses of a name are one server.
    pub one_server: bool,
    /// How long the next address of a server waits for the one before (default 250 ms).
    pub stagger: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            warm: 0,
            streams: 100,
            max_age: None,
            max_requests: None,
            one_server: false,
            stagger: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        for (word, on) in RetryOn::WORDS {
            assert_eq!(RetryOn::parse(word), Some(on));
        }
        assert_eq!(RetryOn::parse("503"), Some(RetryOn::Status(503)));
        assert_eq!(RetryOn::Grpc(14).word(), "unavailable");
        for text in ["", "200", "600", "5XX", "-1", "unavailable "] {
            assert_eq!(RetryOn::parse(text), None, "{text}");
        }
    }
}
