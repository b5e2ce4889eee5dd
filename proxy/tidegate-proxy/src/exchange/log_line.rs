//! What access logs say of an exchange.

use std::time::Duration;

use http::HeaderName;
use tidegate_config::plan::{KnownField, PluginIndex};

use crate::exchange::finish::Record;
use crate::exchange::retry::Tries;
use crate::http::certificate;
use crate::http::fail::Reason;
use crate::local::Session;
use crate::snapshot::logs::{ABSENT, Field, Figures, Log, Over, TAKEN_OUT, Tells, figure};
use crate::telemetry::access_log::kept::{Key, Keys};
use crate::telemetry::access_log::line::{Value, micros};
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
    let wall = local.deadlines.guest().wall();
    let told = Told { record, figures: figures(record, took), wall };
    let to = (&record.view.outlets, &*local.gathering);
    let dropped = logs.write((record.logs, &over), to, &keys(record, wall), &told);
    if dropped > 0 {
        local.shard.log_dropped.add(dropped);
    }
}

/// What an exchange that has ended tells.
struct Told<'a> {
    record: &'a Record,
    figures: Figures,
    /// Its end.
    wall: Duration,
}

impl Tells for Told<'_> {
    fn figures(&self) -> Option<&Figures> {
        Some(&self.figures)
    }

    fn noted(&self) -> Option<&Noted> {
        self.record.noted.as_deref()
    }

    fn put(&self, log: &Log, field: Field, value: &mut Value<'_>) {
        let (logs, noted) = (&self.record.view.snapshot.logs, self.noted());
        match field {
            Field::Known(field) => known(self, log, field, value),
            Field::RequestHeader(place) => {
                let found = noted.and_then(|noted| noted.value(Noted::HEADERS + place));
                header(log, logs.request_headers.get(place), found, value);
            }
            Field::ResponseHeader(place) => {
                let found = noted.and_then(|noted| noted.answered(place));
                header(log, logs.response_headers.get(place), found, value);
            }
        }
    }
}

/// The numbers of an exchange, in their order.
fn figures(record: &Record, took: Duration) -> Figures {
    let time = |time: Option<Duration>| time.map_or(ABSENT, micros);
    [
        record.status.map_or(0, |status| u64::from(status.as_u16())),
        u64::from(record.attempts),
        record.progress.as_ref().map_or(0, |progress| progress.bytes.get()),
        record.sent,
        time(record.waited),
        time(record.latency),
        time(record.answered_at.map(|at| at.saturating_sub(record.start))),
        micros(took),
    ]
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
        connection: record
            .behind
            .is_none()
            .then(|| Key::new([record.client.id, record.listener as u64, version])),
        plain: is_plain(record),
        way: Some(Key::new([number(record.rule), upstream, number(tried.map(|(_, server)| server.id()))])),
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

fn header(log: &Log, name: Option<&HeaderName>, found: Option<&[u8]>, value: &mut Value<'_>) {
    if let (Some(name), Some(found)) = (name, found) {
        value.header(if log.hides(name) { TAKEN_OUT.as_bytes() } else { found });
    }
}

fn known(told: &Told<'_>, log: &Log, field: KnownField, value: &mut Value<'_>) {
    let figure = figure(field).and_then(|place| told.figures.get(place));
    if let Some(&figure) = figure.filter(|figure| **figure != ABSENT) {
        return value.number(figure);
    }
    let noted = |place| told.noted().and_then(|noted| noted.value(place));
    let mut text = |place| noted(place).into_iter().for_each(|text| value.text(text));
    match field {
        KnownField::TimeMs => value.moment(told.wall),
        KnownField::Time => value.time(told.wall),
        KnownField::Method => text(Noted::METHOD),
        KnownField::RequestId => text(Noted::REQUEST_ID),
        KnownField::UserAgent => text(Noted::AGENT),
        KnownField::Host => noted(Noted::HOST).into_iter().for_each(|host| value.host(host)),
        KnownField::Path => noted(Noted::PATH).into_iter().for_each(|path| log.path(path, value)),
        _ => seldom(told.record, field, value),
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
                value.trace(trace.trace, trace.decided.is_sampled());
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
