//! What access logs say of an exchange.

use std::time::Duration;

use http::HeaderName;
use tidegate_config::plan::{KnownField, PluginIndex};

use crate::exchange::finish::Record;
use crate::exchange::retry::Tries;
use crate::http::certificate;
use crate::http::fail::Reason;
use crate::local::Session;
use crate::snapshot::logs::{Field, Log, Logs, Over, TAKEN_OUT, Tells};
use crate::telemetry::access_log::kept::Keys;
use crate::telemetry::access_log::line::{Said, Value};
use crate::telemetry::access_log::noted::Noted;

/// Hands the lines of an exchange that has ended to its logs.
pub(crate) fn write(record: &Record, took: Duration) {
    let (local, logs) = (&record.client.local, &record.view.snapshot.logs);
    let status = record.status.map_or(0, |status| status.as_u16());
    let over = Over {
        failed: record.reason.is_some() || status >= 500,
        status,
        route: record.rule.and_then(|rule| record.view.rule(rule)).map(|rule| &*rule.route),
        took,
    };
    // The time was read when the exchange ended, which is now.
    let wall = local.deadlines.guest().wall;
    let to = (&record.view.outlets, &*local.gathering);
    let dropped = logs.write((record.logs, &over), to, &keys(record, wall), &Told { record, took, wall });
    if dropped > 0 {
        local.shard.log_dropped.add(dropped);
    }
}

/// What an exchange that has ended tells.
struct Told<'a> {
    record: &'a Record,
    took: Duration,
    /// Its end.
    wall: Duration,
}

impl Tells for Told<'_> {
    #[inline]
    fn said<'a>(&'a self, log: &Log, field: Field) -> Said<'a> {
        match field {
            Field::Known(field) => known(self, log, field),
            Field::RequestHeader(place) => {
                let names = &logs(self.record).request_headers;
                header(log, names.get(place), |target| target.value(Noted::HEADERS + place), self.record)
            }
            Field::ResponseHeader(place) => {
                let names = &logs(self.record).response_headers;
                header(log, names.get(place), |target| target.answered(place), self.record)
            }
        }
    }

    fn put(&self, log: &Log, field: Field, value: &mut Value<'_>) {
        match (field, self.said(log, field)) {
            (Field::Known(KnownField::Path), Said::Other) => {
                let path = self.record.target.as_ref().and_then(|target| target.value(Noted::PATH));
                log.path_without_secrets(path.unwrap_or(b"/"), value);
            }
            (Field::Known(KnownField::Time), _) => value.time(self.wall),
            (Field::Known(field), Said::Other) => seldom(self.record, field, value),
            // Of which there may be several, where others than people read it.
            (Field::RequestHeader(_) | Field::ResponseHeader(_), Said::Text(text)) => value.header(text),
            (_, said) => value.say(said),
        }
    }
}

/// By what parts of the line are the same as in others.
fn keys(record: &Record, wall: Duration) -> Keys {
    let number = |index: Option<usize>| index.map_or(0, |index| index as u64 + 1);
    let version = match record.version {
        http::Version::HTTP_10 => 0,
        http::Version::HTTP_11 => 1,
        _ => 2,
    };
    let tried = record.upstream.as_ref();
    let upstream = number(tried.map(|(upstream, _)| *upstream)) << 16 | record.picked.number();
    Keys {
        moment: Some(wall),
        // Behind a proxy each request has a client of its own.
        connection: record.behind.is_none().then(|| [record.client.id, record.listener as u64, version]),
        plain: is_plain(record),
        way: Some([number(record.rule), upstream, number(tried.map(|(_, server)| server.id()))]),
    }
}

/// Whether nothing out of the way happened: no filter, no trace, one attempt, no failure.
fn is_plain(record: &Record) -> bool {
    record.guests.is_empty()
        && record.reason.is_none()
        && record.tries.is_none()
        && record.interim_answers() == 0
        && record.trace.is_none()
        && record.arms.is_empty()
        && record.replied.is_none()
        && record.chosen.is_none()
        && record.reroute.chosen_by.is_none()
        && record.details.is_empty()
}

fn logs(record: &Record) -> &Logs {
    &record.view.snapshot.logs
}

fn header<'a>(
    log: &Log,
    name: Option<&HeaderName>,
    value: impl FnOnce(&'a Noted) -> Option<&'a [u8]>,
    record: &'a Record,
) -> Said<'a> {
    match (name, record.target.as_deref().and_then(value)) {
        (Some(name), Some(_)) if log.hides(name) => Said::Text(TAKEN_OUT.as_bytes()),
        (Some(_), Some(value)) => Said::Text(value),
        _ => Said::Nothing,
    }
}

/// What most lines say.
#[inline]
fn known<'a>(told: &Told<'a>, log: &Log, field: KnownField) -> Said<'a> {
    let record = told.record;
    let time = |time: Option<Duration>| time.map_or(Said::Nothing, Said::Micros);
    let text = |text: Option<&'a [u8]>| text.map_or(Said::Nothing, Said::Text);
    match field {
        KnownField::TimeMs => Said::Moment(told.wall),
        KnownField::Status => Said::Number(record.status.map_or(0, |status| u64::from(status.as_u16()))),
        KnownField::Attempts => Said::Number(u64::from(record.attempts)),
        KnownField::BytesReceived => {
            Said::Number(record.progress.as_ref().map_or(0, |progress| progress.bytes.get()))
        }
        KnownField::BytesSent => Said::Number(record.sent),
        KnownField::DurationUs => Said::Micros(told.took),
        KnownField::WaitUs => time(record.waited),
        KnownField::UpstreamUs => time(record.latency),
        KnownField::HeadUs => time(record.answered_at.map(|at| at.saturating_sub(record.start))),
        KnownField::Method
        | KnownField::Host
        | KnownField::Path
        | KnownField::RequestId
        | KnownField::UserAgent => {
            let Some(target) = record.target.as_deref() else { return Said::Nothing };
            match field {
                KnownField::Method => Said::Text(target.method.as_str().as_bytes()),
                KnownField::Host => Said::Host(target.value(Noted::HOST).unwrap_or_default()),
                KnownField::Path => log.path(target.value(Noted::PATH).unwrap_or_default()),
                KnownField::UserAgent => text(target.value(Noted::AGENT)),
                _ => match &target.made {
                    Some(made) => Said::Digits(made),
                    None => text(target.value(Noted::REQUEST_ID)),
                },
            }
        }
        _ => Said::Other,
    }
}

/// What is the same in many lines, or in few of them at all.
fn seldom(record: &Record, field: KnownField, value: &mut Value<'_>) {
    match field {
        KnownField::Client => value.client(record.source()),
        KnownField::Listener => {
            if let Some(listener) = record.view.listener(record.listener) {
                value.text(listener.spec.name.as_bytes());
            }
        }
        KnownField::Protocol => value.version(record.version),
        KnownField::TlsVersion | KnownField::TlsCipher | KnownField::ServerName => {
            of_tls(record.client.session.as_ref(), record.client.server_name.as_deref(), field, value);
        }
        KnownField::Route
        | KnownField::Rule
        | KnownField::Upstream
        | KnownField::Server
        | KnownField::Picked => of_route(record, field, value),
        KnownField::Versions if !record.arms.is_empty() => record.write_arms(value),
        KnownField::EarlierAttempts
        | KnownField::RetryStoppedBy
        | KnownField::Hedges
        | KnownField::HedgeWon => {
            if let Some(tries) = &record.tries {
                of_tries(tries, field, value);
            }
        }
        KnownField::Interim if record.interim_answers() > 0 => {
            value.number(u64::from(record.interim_answers()));
        }
        KnownField::RouteBy
        | KnownField::UpstreamBy
        | KnownField::Filters
        | KnownField::AnsweredBy
        | KnownField::Plugin => of_plugins(record, field, value),
        KnownField::Details if !record.details.is_empty() => value.text(record.details.as_bytes()),
        KnownField::Reason => {
            if let Some(reason) = record.reason.map(Reason::word) {
                value.text(reason.as_bytes());
            }
        }
        KnownField::TraceId => {
            if let Some(trace) = &record.trace {
                value.trace(trace.trace, trace.sampled);
            }
        }
        KnownField::SpanId => {
            if let Some(trace) = &record.trace {
                value.span(trace.span);
            }
        }
        // Of connections only; the rest is told elsewhere.
        _ => {}
    }
}

/// What was agreed on by TLS.
pub(crate) fn of_tls(
    session: Option<&Session>,
    server_name: Option<&str>,
    field: KnownField,
    value: &mut Value<'_>,
) {
    match field {
        KnownField::TlsVersion => {
            if let Some(version) = session.and_then(|session| session.version) {
                let number = certificate::version_number(Some(version));
                value.either(certificate::version(Some(version)), number);
            }
        }
        KnownField::TlsCipher => {
            if let Some(suite) = session.and_then(|session| session.suite) {
                value.shown(format_args!("{suite:?}"));
            }
        }
        _ => server_name.into_iter().for_each(|name| value.text(name.as_bytes())),
    }
}

fn of_route(record: &Record, field: KnownField, value: &mut Value<'_>) {
    let rule = record.rule.and_then(|rule| record.view.rule(rule));
    let tried = record
        .upstream
        .as_ref()
        .and_then(|(upstream, server)| Some((record.view.pools.get(*upstream)?, server)));
    match (field, rule, tried) {
        (KnownField::Route, Some(rule), _) => value.text(rule.route.as_bytes()),
        (KnownField::Rule, Some(rule), _) => value.text(rule.name.as_bytes()),
        (KnownField::Upstream, _, Some((pool, _))) => value.text(pool.name.as_bytes()),
        (KnownField::Server, _, Some((_, server))) => value.address(server.identity.address),
        (KnownField::Picked, _, Some((pool, _))) => {
            value.text(record.picked.words(pool.cluster.spec.balance.word()).as_bytes());
        }
        _ => {}
    }
}

fn of_plugins(record: &Record, field: KnownField, value: &mut Value<'_>) {
    let name = |plugin: PluginIndex| record.view.plugins.get(plugin).map(|slot| &*slot.entry.name);
    let plugin = match field {
        KnownField::Filters => {
            return value.list(record.guests.iter().filter_map(|passed| name(passed.plugin)));
        }
        KnownField::RouteBy => record.reroute.chosen_by,
        KnownField::UpstreamBy => record.chosen.map(|(_, plugin)| plugin),
        KnownField::AnsweredBy => record.replied,
        _ => record.reason.and_then(|_| record.failed_by()),
    };
    if let Some(name) = plugin.and_then(name) {
        value.text(name.as_bytes());
    }
}

/// Why the answer is not that of the first attempt, or why there was no further one.
#[cold]
fn of_tries(tries: &Tries, field: KnownField, value: &mut Value<'_>) {
    match field {
        KnownField::EarlierAttempts => {
            let earlier = tries.earlier.iter().map(|(server, cause)| match server {
                Some(server) => format!("{server} {cause}"),
                None => cause.to_string(),
            });
            let earlier: Vec<String> = earlier.collect();
            if !earlier.is_empty() {
                value.text(earlier.join(", ").as_bytes());
            }
        }
        KnownField::RetryStoppedBy => {
            if let Some(stop) = tries.stopped {
                value.text(stop.word().as_bytes());
            }
        }
        KnownField::Hedges if tries.hedges > 0 => value.number(u64::from(tries.hedges)),
        KnownField::HedgeWon if tries.hedges > 0 => value.text(if tries.won { b"yes" } else { b"no" }),
        _ => {}
    }
}
