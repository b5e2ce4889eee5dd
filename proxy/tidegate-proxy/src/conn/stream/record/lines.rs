//! What access logs say of a forwarded connection.

use std::time::Duration;

use tidegate_config::plan::KnownField;

use super::{Party, Record};
use crate::exchange::log_line;
use crate::snapshot::logs::{Field, Figures, Log, MILLION, Over, Tells};
use crate::telemetry::access_log::kept::Keys;
use crate::telemetry::access_log::line::Value;
use crate::telemetry::access_log::noted::Noted;

/// Hands the lines of a connection that has ended to its logs.
pub(super) fn write(record: &Record, took: Duration) {
    let (local, logs) = (&record.client.local, &record.view.snapshot.logs);
    let over = Over {
        failed: record.end.word().is_some(),
        status: 0,
        route: record.rule.and_then(|rule| record.view.rule(rule)).map(|rule| &*rule.route),
        took,
    };
    let bits = logs.draw(|| local.random.below(u64::from(MILLION)));
    let to = (&record.view.outlets, &*local.gathering);
    let dropped = logs.write((bits, &over), to, &Keys::default(), &Told { record, took });
    local.shard.log_dropped.add(dropped);
}

/// What a connection that has ended tells.
struct Told<'a> {
    record: &'a Record,
    took: Duration,
}

impl Tells for Told<'_> {
    fn figures(&self) -> Option<&Figures> {
        None
    }

    fn noted(&self) -> Option<&Noted> {
        None
    }

    fn put(&self, _: &Log, field: Field, value: &mut Value<'_>) {
        if let Field::Known(field) = field {
            known(self.record, self.took, field, value);
        }
    }
}

fn known(record: &Record, took: Duration, field: KnownField, value: &mut Value<'_>) {
    let (client, view) = (&record.client, &record.view);
    let listener = view.listener(record.listener);
    let rule = record.rule.and_then(|rule| view.rule(rule));
    let tried =
        record.upstream.as_ref().and_then(|(upstream, server)| Some((view.pools.get(*upstream)?, server)));
    let mut text = |text: Option<&str>| text.into_iter().for_each(|text| value.text(text.as_bytes()));
    match field {
        KnownField::Listener => text(listener.map(|listener| listener.spec.name.as_str())),
        KnownField::Protocol => text(listener.map(|listener| listener.spec.protocol.word())),
        KnownField::Route => text(rule.map(|rule| &*rule.route)),
        KnownField::Rule => text(rule.map(|rule| &*rule.name)),
        KnownField::Upstream => text(tried.map(|(pool, _)| &*pool.name)),
        KnownField::Reason => text(record.end.word()),
        KnownField::ClosedBy => text(record.closed_by.map(|party| match party {
            Party::Client => "client",
            Party::Server => "upstream",
        })),
        KnownField::Plugin => {
            let slot = record.failed_by.and_then(|plugin| view.plugins.get(plugin));
            text(slot.map(|slot| &*slot.entry.name));
        }
        KnownField::TlsVersion | KnownField::TlsCipher | KnownField::ServerName => {
            log_line::of_tls(client.session.as_ref(), client.server_name.as_deref(), field, value);
        }
        KnownField::Client => value.client(client.address),
        KnownField::Server => {
            if let Some((_, server)) = tried {
                value.address(server.identity.address);
            }
        }
        KnownField::TimeMs => value.moment(client.local.clock.wall()),
        KnownField::Time => value.time(client.local.clock.wall()),
        KnownField::Attempts => value.number(u64::from(record.attempts)),
        KnownField::BytesReceived => value.named("tidegate.bytes_received").number(record.received),
        KnownField::BytesSent => value.named("tidegate.bytes_sent").number(record.sent),
        KnownField::ConnectUs => {
            if let Some(at) = record.connected_at {
                value.micros(at.saturating_sub(record.start));
            }
        }
        KnownField::DurationUs => value.micros(took),
        // Of requests only.
        _ => {}
    }
}
