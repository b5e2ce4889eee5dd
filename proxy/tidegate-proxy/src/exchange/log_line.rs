//! What the access log says of an exchange.

use std::time::Duration;

use crate::exchange::finish::Record;
use crate::exchange::retry::Tries;
use crate::telemetry::access_log::Line;

/// Writes the line of an exchange that has ended.
pub(crate) fn write(record: &Record, took: Duration) {
    let local = &record.client.local;
    if !local.log.write(line(record, took)) {
        local.shard.log_dropped.add(1);
    }
}

fn line(record: &Record, took: Duration) -> Line {
    let mut line = Line::begin();
    let local = &record.client.local;
    line.number("time_ms", u64::try_from(local.clock.wall().as_millis()).unwrap_or(0));
    line.text("client", record.source().to_string().as_bytes());
    if let Some(listener) = record.view.listener(record.listener) {
        line.text("listener", listener.spec.name.as_bytes());
    }
    if let Some(target) = &record.target {
        line.text("method", target.method.as_str().as_bytes());
        line.text("host", target.host.as_ref().map_or(&[], |host| host.as_bytes()));
        line.text("path", target.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        if let Some(id) = &target.request_id {
            line.text("request_id", id.as_bytes());
        }
        if let Some(agent) = &target.agent {
            line.text("user_agent", agent.as_bytes());
        }
    }
    line.text("protocol", format!("{:?}", record.version).as_bytes());
    line.number("status", record.status.map_or(0, |status| u64::from(status.as_u16())));
    if let Some(rule) = record.rule.and_then(|rule| record.view.rule(rule)) {
        line.text("route", rule.route.as_bytes());
        line.text("rule", rule.name.as_bytes());
    }
    if let Some((upstream, server)) = &record.upstream
        && let Some(pool) = record.view.pools.get(*upstream)
    {
        line.text("upstream", pool.cluster.spec.name.as_bytes());
        line.text("server", server.identity.address.to_string().as_bytes());
    }
    for (key, plugin) in
        [("route_by", record.reroute.chosen_by), ("upstream_by", record.chosen.map(|(_, plugin)| plugin))]
    {
        if let Some(slot) = plugin.and_then(|plugin| record.view.plugins.get(plugin)) {
            line.text(key, slot.entry.name.as_bytes());
        }
    }
    if !record.arms.is_empty() {
        record.write_arms(&mut line);
    }
    line.number("attempts", u64::from(record.attempts));
    if let Some(tries) = &record.tries {
        attempts(&mut line, tries);
    }
    if let Some(slot) = record.replied.and_then(|plugin| record.view.plugins.get(plugin)) {
        line.text("answered_by", slot.entry.name.as_bytes());
    }
    if !record.details.is_empty() {
        line.text("details", record.details.as_bytes());
    }
    if let Some(reason) = record.reason {
        line.text("reason", reason.word().as_bytes());
        if let Some(slot) = record.failed_by().and_then(|plugin| record.view.plugins.get(plugin)) {
            line.text("plugin", slot.entry.name.as_bytes());
        }
    }
    line.number("bytes_received", record.progress.as_ref().map_or(0, |progress| progress.bytes.get()));
    line.number("bytes_sent", record.sent);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if let Some(at) = record.answered_at {
        line.number("head_us", micros(at.saturating_sub(record.start)));
    }
    line.number("duration_us", micros(took));
    line
}

/// Why the answer is not that of the first attempt, or why there was no further one.
#[cold]
fn attempts(line: &mut Line, tries: &Tries) {
    let earlier = tries.earlier.iter().map(|(server, cause)| match server {
        Some(server) => format!("{server} {cause}"),
        None => cause.to_string(),
    });
    let earlier: Vec<String> = earlier.collect();
    if !earlier.is_empty() {
        line.text("earlier_attempts", earlier.join(", ").as_bytes());
    }
    if let Some(stop) = tries.stopped {
        line.text("retry_stopped_by", stop.word().as_bytes());
    }
    if tries.hedges > 0 {
        line.number("hedges", u64::from(tries.hedges));
        line.text("hedge_won", if tries.won { b"yes" } else { b"no" });
    }
}
