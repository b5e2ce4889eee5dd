//! What access logs say of an exchange.

use std::time::Duration;

use tidegate_config::plan::{KnownField, PluginIndex};

use crate::exchange::finish::{Record, RequestId};
use crate::exchange::retry::Tries;
use crate::http::certificate;
use crate::http::fail::Reason;
use crate::local::Session;
use crate::snapshot::logs::{Field, Log, Over, TAKEN_OUT};
use crate::telemetry::access_log::kept::Keys;
use crate::telemetry::access_log::line::{Said, Value};

/// Hands the lines of an exchange that has ended to its logs.
pub(crate) fn write(record: &Record, took: Duration) {
    let logs = &record.view.snapshot.logs;
    let status = record.status.map_or(0, |status| status.as_u16());
    let over = Over {
        failed: record.reason.is_some() || status >= 500,
        status,
        route: record.rule.and_then(|rule| record.view.rule(rule)).map(|rule| &*rule.route),
        took,
    };
    let to = (&record.view.outlets, &*record.client.local.gathering);
    let dropped = logs.write((record.logs, &over), to, &keys(record), |log, field, value| match field {
        Field::Known(field) => known(record, took, log, field, value),
        Field::RequestHeader(place) => {
            let names = &logs.request_headers;
            let values = record.target.as_ref().map(|target| &target.headers);
            header(log, names.get(place), values.and_then(|values| values.get(place)?.as_ref()), value);
        }
        Field::ResponseHeader(place) => {
            let names = &logs.response_headers;
            let values = record.target.as_ref().map(|target| &target.answered);
            header(log, names.get(place), values.and_then(|values| values.get(place)?.as_ref()), value);
        }
    });
    if dropped > 0 {
        record.client.local.shard.log_dropped.add(dropped);
    }
}

/// By what parts of the line are the same as in others.
fn keys(record: &Record) -> Keys {
    let number = |index: Option<usize>| index.map_or(0, |index| index as u64 + 1);
    let version = match record.version {
        http::Version::HTTP_10 => 0,
        http::Version::HTTP_11 => 1,
        _ => 2,
    };
    let tried = record.upstream.as_ref();
    let upstream = number(tried.map(|(upstream, _)| *upstream)) << 16 | record.picked.number();
    Keys {
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

fn header(
    log: &Log,
    name: Option<&http::HeaderName>,
    found: Option<&http::HeaderValue>,
    value: &mut Value<'_>,
) {
    if let (Some(name), Some(found)) = (name, found) {
        value.header(if log.hides(name) { TAKEN_OUT.as_bytes() } else { found.as_bytes() });
    }
}

fn known(record: &Record, took: Duration, log: &Log, field: KnownField, value: &mut Value<'_>) {
    // The time was read when the exchange ended, which is now.
    let wall = || record.client.local.deadlines.guest().wall;
    let said = match field {
        KnownField::TimeMs => Said::Moment(wall()),
        KnownField::Status => Said::Number(record.status.map_or(0, |status| u64::from(status.as_u16()))),
        KnownField::Attempts => Said::Number(u64::from(record.attempts)),
        KnownField::BytesReceived => {
            Said::Number(record.progress.as_ref().map_or(0, |progress| progress.bytes.get()))
        }
        KnownField::BytesSent => Said::Number(record.sent),
        KnownField::DurationUs => Said::Micros(took),
        KnownField::WaitUs | KnownField::UpstreamUs | KnownField::HeadUs => {
            let time = match field {
                KnownField::WaitUs => record.waited,
                KnownField::UpstreamUs => record.latency,
                _ => record.answered_at.map(|at| at.saturating_sub(record.start)),
            };
            let Some(time) = time else { return };
            Said::Micros(time)
        }
        KnownField::Method
        | KnownField::Host
        | KnownField::Path
        | KnownField::RequestId
        | KnownField::UserAgent => return of_head(record, log, field, value),
        KnownField::Time => return value.time(wall()),
        _ => return seldom(record, field, value),
    };
    value.say(said);
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

fn of_head(record: &Record, log: &Log, field: KnownField, value: &mut Value<'_>) {
    let Some(target) = &record.target else { return };
    let text = match field {
        KnownField::Method => Some(target.method.as_str().as_bytes()),
        KnownField::Host => {
            let host = target.host.as_ref().map_or(&b""[..], |host| host.as_bytes());
            return value.say(Said::Host(host));
        }
        KnownField::Path => {
            return log.path(target.path.as_ref().map_or("/", |path| path.as_str()), value);
        }
        KnownField::RequestId => match &target.request_id {
            RequestId::Given(id) => id.as_ref().map(|id| id.as_bytes()),
            RequestId::Made(id) => Some(&id[..]),
        },
        _ => target.agent.as_ref().map(|agent| agent.as_bytes()),
    };
    if let Some(text) = text {
        value.say(Said::Text(text));
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
