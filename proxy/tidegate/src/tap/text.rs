//! A request of a tap as text for a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::words::many;

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) color: bool,
}

#[derive(Clone, Copy)]
enum Tone {
    Soft,
    Strong,
    Good,
    Warn,
    Bad,
}

impl Paint {
    fn of(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Soft => "2",
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Losers that are shown; the others are counted.
const LOSERS: usize = 5;

/// One request, its first line first.
pub(super) fn request(one: &Value, paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint };
    page.head(one);
    page.route(one);
    list(one, "filters").for_each(|filter| page.filter(filter));
    page.changes("sent", "", &one["sent"]);
    for (number, attempt) in list(one, "attempts").enumerate() {
        page.attempt(number + 1, attempt);
    }
    page.end(one);
    page.text.push('\n');
    page.text
}

/// Why it ended, and what was not shown.
pub(super) fn end(last: &Value) -> String {
    let why = if last["end"] == "limit" { "as many as asked for" } else { "the time is over" };
    let dropped = &last["dropped"];
    let mut text = format!("{why}: {} shown", count(&last["shown"]));
    for (key, words) in [
        ("rate", "more in a second than wanted"),
        ("queue", "not read in time"),
        ("load", "not looked at, there were too many"),
    ] {
        match count(&dropped[key]) {
            0 => {}
            more => _ = write!(text, "; {more} {words}"),
        }
    }
    text
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn line(&mut self, name: &str, text: &str) {
        let name = self.paint.of(Tone::Soft, &format!("{name:<8}"));
        // Writing to a text cannot fail.
        _ = writeln!(self.text, "  {name} {text}");
    }

    fn soft(&self, text: &str) -> String {
        self.paint.of(Tone::Soft, text)
    }

    fn head(&mut self, one: &Value) {
        let status = count(&one["status"]);
        let tone = match (status, one.get("reason")) {
            (0 | 500.., _) => Tone::Bad,
            (400.., _) | (_, Some(_)) => Tone::Warn,
            _ => Tone::Good,
        };
        let clock = plain(&one["time"]).get(11..23).map(str::to_owned).unwrap_or_default();
        let shown = if status == 0 { "no answer".to_owned() } else { status.to_string() };
        let target = format!("{}{}", plain(&one["host"]), plain(&one["path"]));
        let (status, method) = (self.paint.of(tone, &shown), plain(&one["method"]));
        let target = self.paint.of(Tone::Strong, &format!("{method} {target}"));
        let took = micros(&one["durationUs"]);
        _ = writeln!(self.text, "{}  {status}  {target}  {took}", self.soft(&clock));
        let peer = one.get("peer").map(|peer| format!(" through {}", plain(peer))).unwrap_or_default();
        let tls = if one["tls"] == true { " with TLS" } else { "" };
        let from = format!(
            "{}{peer} by {}, {}{tls}",
            plain(&one["client"]),
            plain(&one["listener"]),
            plain(&one["protocol"])
        );
        self.line("from", &from);
        if let Some(target) = one.get("target") {
            self.line("as sent", &plain(target));
        }
    }

    fn route(&mut self, one: &Value) {
        match one.get("rule") {
            Some(rule) => {
                let by =
                    one.get("routeBy").map(|by| format!(", chosen by {}", plain(by))).unwrap_or_default();
                let matched =
                    one.get("matched").map(|matched| self.soft(&plain(matched))).unwrap_or_default();
                let rule = self.paint.of(Tone::Strong, &format!("{}/{}", plain(&one["route"]), plain(rule)));
                self.line("rule", &format!("{rule}{by}  {matched}"));
            }
            None => self.line("rule", "none"),
        }
        let others = list(one, "others").count();
        for other in list(one, "others").take(LOSERS) {
            self.line("", &self.soft(&format!("not {}: {}", plain(&other["name"]), plain(&other["why"]))));
        }
        let more = others.saturating_sub(LOSERS) as u64 + count(&one["moreOthers"]);
        if more > 0 {
            self.line("", &self.soft(&format!("and {more} more are not for it")));
        }
    }

    fn filter(&mut self, filter: &Value) {
        let decision = plain(&filter["decision"]);
        let tone = match decision.as_str() {
            "continued" => Tone::Good,
            "answered" | "passedOver" | "away" => Tone::Warn,
            _ => Tone::Bad,
        };
        let name = filter.get("plugin").map_or_else(|| plain(&filter["kind"]), plain);
        let status = filter.get("status").map(|status| format!(" {}", count(status))).unwrap_or_default();
        let words = match decision.as_str() {
            "brokeOff" => "broke off",
            "passedOver" => "failed and was passed over",
            other => other,
        };
        let mut text = format!(
            "{} {}: {}",
            self.paint.of(Tone::Strong, &name),
            self.soft(&format!("({})", plain(&filter["at"]))),
            self.paint.of(tone, &format!("{words}{status}"))
        );
        if let Some(error) = filter.get("error") {
            _ = write!(text, ", {}", plain(error));
        }
        if filter.get("guestUs").is_some() {
            let (guest, host) = (micros(&filter["guestUs"]), micros(&filter["hostUs"]));
            let calls = many(count(&filter["callbacks"]), "callback");
            _ = write!(text, "{}", self.soft(&format!(", {calls}, {guest} inside, {host} in the host")));
        }
        if count(&filter["pauses"]) > 0 {
            _ = write!(
                text,
                ", held {} for {}",
                many(count(&filter["pauses"]), "time"),
                micros(&filter["waitingUs"])
            );
        }
        self.line("filter", &text);
        self.changes("", "request ", &filter["request"]);
        self.changes("", "response ", &filter["response"]);
        self.filter_rest(filter);
    }

    fn filter_rest(&mut self, filter: &Value) {
        for (key, name) in [("requestBody", "request"), ("responseBody", "response")] {
            if let Some(body) = filter.get(key).filter(|body| body["changed"] == true) {
                let (before, after) = (many(count(&body["before"]), "byte"), count(&body["after"]));
                self.line("", &format!("{name} body written to: {before} before, {after} after"));
            }
        }
        for chose in list(filter, "chose") {
            self.line("", &format!("chose: {}", plain(chose)));
        }
        for call in list(filter, "calls") {
            let status = call.get("status").filter(|status| !status.is_null());
            let status = status.map_or_else(|| "no answer".to_owned(), plain);
            let upstream = call.get("upstream").filter(|upstream| !upstream.is_null());
            let upstream = upstream.map_or_else(|| "the gateway".to_owned(), plain);
            self.line("", &format!("called {upstream} {}: {status}", plain(&call["request"])));
        }
        for line in list(filter, "log") {
            self.line("", &self.soft(&format!("{}: {}", plain(&line["level"]), plain(&line["message"]))));
        }
        for function in list(filter, "refused") {
            self.line("", &format!("may not call {}", plain(function)));
        }
        if let Some(why) = filter.get("incomplete") {
            self.line("", &self.soft(&format!("not all of it is here: {}", plain(why))));
        }
    }

    fn changes(&mut self, name: &str, side: &str, changes: &Value) {
        for (index, change) in changes.as_array().into_iter().flatten().enumerate() {
            let field = plain(&change["name"]);
            let text = match (change["before"].as_str(), change["after"].as_str()) {
                (Some(_), None) => {
                    self.paint.of(Tone::Bad, &format!("{side}- {field}: {}", plain(&change["before"])))
                }
                (None, Some(_)) => {
                    self.paint.of(Tone::Good, &format!("{side}+ {field}: {}", plain(&change["after"])))
                }
                _ => {
                    let (before, after) = (plain(&change["before"]), plain(&change["after"]));
                    self.paint.of(Tone::Warn, &format!("{side}~ {field}: {before} → {after}"))
                }
            };
            self.line(if index == 0 { name } else { "" }, &text);
        }
    }

    fn attempt(&mut self, number: usize, attempt: &Value) {
        let server = attempt.get("server").map(|server| format!(" {}", plain(server))).unwrap_or_default();
        let picked = attempt.get("picked").map(|picked| format!(" ({})", plain(picked))).unwrap_or_default();
        let connection = match attempt.get("connection").and_then(Value::as_str) {
            Some("opened") => format!(", opened in {}", micros(&attempt["waitUs"])),
            Some(_) => ", open connection".to_owned(),
            None => String::new(),
        };
        let (tone, outcome) = match attempt.get("status") {
            Some(status) => {
                let tone = if count(status) >= 500 { Tone::Bad } else { Tone::Good };
                (tone, count(status).to_string())
            }
            None => (Tone::Bad, plain(&attempt["reason"])),
        };
        let took = attempt.get("tookUs").map(|took| format!(" after {}", micros(took))).unwrap_or_default();
        let error = attempt.get("error").map(|error| format!(", {}", plain(error))).unwrap_or_default();
        let outcome = self.paint.of(tone, &outcome);
        let place = format!("{}{server}{}", plain(&attempt["upstream"]), self.soft(&picked));
        self.line("attempt", &format!("{number}  {place}{connection}: {outcome}{took}{error}"));
    }

    fn end(&mut self, one: &Value) {
        if let Some(stopped) = one.get("retryStoppedBy") {
            self.line("", &format!("no further attempt: {}", plain(stopped)));
        }
        let mut text = String::new();
        if let Some(plugin) = one.get("answeredBy") {
            _ = write!(text, "by {}, ", plain(plugin));
        }
        if let Some(reason) = one.get("reason") {
            _ = write!(text, "{}, ", self.paint.of(Tone::Bad, &plain(reason)));
        }
        if let Some(plugin) = one.get("failedBy") {
            _ = write!(text, "by {}, ", plain(plugin));
        }
        if let Some(details) = one.get("details") {
            _ = write!(text, "{}, ", plain(details));
        }
        if let Some(head) = one.get("headUs") {
            _ = write!(text, "head after {}, ", micros(head));
        }
        let (received, sent) = (count(&one["bytesReceived"]), count(&one["bytesSent"]));
        _ = write!(text, "{} received, {sent} sent", many(received, "byte"));
        self.line("end", &text);
        if let Some(trace) = one.get("traceId") {
            self.line("trace", &self.soft(&plain(trace)));
        }
        for (key, name) in [("requestBody", "request"), ("responseBody", "response")] {
            if let Some(body) = one.get(key).filter(|body| **body != "") {
                self.line("body", &format!("{name}  {}", plain(body)));
            }
        }
    }
}

fn list<'a>(one: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    one[key].as_array().into_iter().flatten()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// A text of which nothing moves a terminal's cursor.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

/// Microseconds as people read them.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn micros(value: &Value) -> String {
    match count(value) {
        short @ ..1000 => format!("{short} µs"),
        middle @ ..1_000_000 => format!("{:.1} ms", middle as f64 / 1e3),
        long => format!("{:.2} s", long as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_told_line_by_line() {
        let one = json!({
            "time": "2025-11-21T10:00:00.250Z", "generation": 1, "listener": "web", "client": "127.0.0.1:4711",
            "protocol": "HTTP/1.1", "tls": false, "method": "GET", "host": "shop.test", "path": "/a\u{1b}[2J",
            "status": 502, "reason": "upstream_reset", "route": "shop", "rule": "all", "matched": "the path begins with /",
            "others": [{ "name": "shop/b", "why": "another path" }], "moreOthers": 3,
            "filters": [{
                "kind": "plugin", "plugin": "auth", "at": "shop/all", "decision": "continued", "callbacks": 2, "guestUs": 120,
                "hostUs": 4, "pauses": 1, "waitingUs": 2500,
                "request": [
                    { "name": "x-user", "before": null, "after": "ann" }, { "name": "x-drop", "before": "1", "after": null },
                    { "name": "cookie", "before": "***", "after": "***" },
                ],
                "calls": [{ "upstream": "idp", "request": "GET /me", "status": "200" }],
            }],
            "sent": [{ "name": "via", "before": null, "after": "x" }],
            "attempts": [{
                "upstream": "up", "server": "127.0.0.1:1", "picked": "random", "beganUs": 3, "connection": "opened", "waitUs": 300,
                "reason": "upstream_reset", "error": "closed", "tookUs": 1500,
            }],
            "bytesReceived": 0, "bytesSent": 12, "headUs": 4000, "durationUs": 1_500_000,
        });
        let expected = "\
10:00:00.250  502  GET shop.test/a\\u{1b}[2J  1.50 s
  from     127.0.0.1:4711 by web, HTTP/1.1
  rule     shop/all  the path begins with /
           not shop/b: another path
           and 3 more are not for it
  filter   auth (shop/all): continued, 2 callbacks, 120 µs inside, 4 µs in the host, held 1 time for 2.5 ms
           request + x-user: ann
           request - x-drop: 1
           request ~ cookie: *** → ***
           called idp GET /me: 200
  sent     + via: x
  attempt  1  up 127.0.0.1:1 (random), opened in 300 µs: upstream_reset after 1.5 ms, closed
  end      upstream_reset, head after 4.0 ms, 12 bytes sent

"
        .replace("head after 4.0 ms, 12", "head after 4.0 ms, 0 bytes received, 12")
        .replace("12 bytes sent", "12 sent");
        assert_eq!(request(&one, Paint { color: false }), expected);
        assert!(request(&one, Paint { color: true }).contains("\x1b[31m502\x1b[0m"));
    }

    #[test]
    fn the_end_tells_what_was_not_shown() {
        let last = json!({ "end": "limit", "shown": 20, "dropped": { "rate": 0, "queue": 0, "load": 0 } });
        assert_eq!(end(&last), "as many as asked for: 20 shown");
        let last = json!({ "end": "time", "shown": 1, "dropped": { "rate": 2, "queue": 3, "load": 4 } });
        assert_eq!(
            end(&last),
            "the time is over: 1 shown; 2 more in a second than wanted; 3 not read in time; 4 not looked at, there were too many"
        );
    }
}
