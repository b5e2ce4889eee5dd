//! What is asked for at `/tap`, by the query.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use tidegate_config::plan::{Plan, TapSettings};
use tidegate_config::{Timeout, guess};
use tidegate_proxy::{Gateway, TapFilter, TapLimits};

/// A tap as it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) filter: TapFilter,
    pub(super) limits: TapLimits,
    /// When it ends by itself.
    pub(super) time: Duration,
}

/// All parameters.
const NAMES: &[&str] = &[
    "listener",
    "route",
    "upstream",
    "plugin",
    "status",
    "method",
    "path",
    "host",
    "header",
    "reason",
    "slowerThan",
    "percent",
    "limit",
    "rate",
    "time",
    "body",
];

/// Where nothing else is asked for.
const LIMIT: u64 = 100;
const RATE: u32 = 100;
const TIME: Duration = Duration::from_secs(300);

/// At most.
const MOST_REQUESTS: u64 = 10_000;
const MOST_RATE: u64 = 1_000;
const MOST_TIME: Duration = Duration::from_secs(3600);
const MOST_BODY: u64 = 4096;
const MOST_HEADERS: usize = 8;

impl Asked {
    /// Reads a query.
    ///
    /// # Errors
    /// Which parameter is wrong, and what would be right.
    pub(super) fn parse(query: &str, plan: &Plan) -> Result<Self, String> {
        let mut given = Given::parse(query)?;
        let rules = plan.routes.iter().flat_map(|route| {
            let rules = route.rules.iter().map(|rule| format!("{}/{}", route.name, rule.name));
            std::iter::once(route.name.clone()).chain(rules)
        });
        let filter = TapFilter {
            listener: given.known("listener", plan.listeners.iter().map(|one| one.name.clone()))?,
            route: given.known("route", rules)?,
            upstream: given.known("upstream", plan.upstreams.iter().map(|one| one.name.clone()))?,
            plugin: given.known("plugin", plan.plugins.iter().map(|one| one.name.clone()))?,
            statuses: statuses(given.one("status")?)?,
            method: given.one("method")?.map(method).transpose()?,
            path: given.one("path")?.map(path).transpose()?,
            host: given.one("host")?.map(host).transpose()?,
            headers: headers(given.all("header"), plan)?,
            reason: given
                .known("reason", ["any"].into_iter().chain(Gateway::reasons()).map(str::to_owned))?,
            slower_than: given.one("slowerThan")?.map(|text| time("slowerThan", &text)).transpose()?,
            share: given.one("percent")?.map(|text| share(&text)).transpose()?,
        };
        let limits = TapLimits {
            requests: given.number("limit", 1, MOST_REQUESTS)?.unwrap_or(LIMIT),
            rate: given.number("rate", 1, MOST_RATE)?.and_then(|rate| rate.try_into().ok()).unwrap_or(RATE),
            body: given.number("body", 0, MOST_BODY)?.and_then(|body| body.try_into().ok()).unwrap_or(0),
        };
        let time = match given.one("time")? {
            None => TIME,
            Some(text) => match time("time", &text)? {
                time if time > Duration::ZERO && time <= MOST_TIME => time,
                _ => return Err(format!("time={text}: more than 0s, at most 1h, such as 30s")),
            },
        };
        Ok(Self { filter, limits, time })
    }
}

/// A host as it is compared: in lower case, without a port.
fn host(text: String) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(&text);
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    match is_host {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            Err(format!("host={text}: a host, such as shop.example.com or *.example.com, without a port"))
        }
    }
}

/// The values of a query by their names; what is empty is as what is not there.
struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    fn parse(query: &str) -> Result<Self, String> {
        let mut given = BTreeMap::<_, Vec<String>>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(known) = NAMES.iter().copied().find(|known| *known == name) else {
                let hint = match guess(name, NAMES.iter().copied()) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("there are {}", NAMES.join(", ")),
                };
                return Err(format!("{name}: no such parameter; {hint}"));
            };
            let value = decoded(value)
                .ok_or_else(|| format!("{name}={value}: percent signs begin two digits, of UTF-8"))?;
            if !value.is_empty() {
                given.entry(known).or_default().push(value);
            }
        }
        Ok(Self(given))
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut all = self.all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(format!("{name}: once is enough")),
        }
    }

    /// A name that the configuration has.
    fn known(&mut self, name: &str, names: impl Iterator<Item = String>) -> Result<Option<String>, String> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        let names: Vec<String> = names.collect();
        if names.contains(&value) {
            return Ok(Some(value));
        }
        let hint = match guess(&value, names.iter().map(String::as_str)) {
            Some(known) => format!("did you mean {known}?"),
            None if names.is_empty() => "there is none".to_owned(),
            None if names.len() > LISTED => {
                let listed: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
                format!("there are {} and {} more", listed.join(", "), names.len() - LISTED)
            }
            None => format!("there are {}", names.join(", ")),
        };
        let missing = match name {
            "reason" => "there is no such reason".to_owned(),
            name => format!("no {name} of that name runs"),
        };
        Err(format!("{name}={value}: {missing}; {hint}"))
    }

    fn number(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(format!("{name}={text}: a whole number from {least} to {most}")),
        }
    }
}

/// Names that are listed at most.
const LISTED: usize = 20;

fn statuses(text: Option<String>) -> Result<Vec<(u16, u16)>, String> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let wrong =
        || format!("status={text}: such as 404, 5xx, 200-204, or 0 for no answer; several with commas");
    let number =
        |text: &str| text.parse::<u16>().ok().filter(|status| *status == 0 || (100..=599).contains(status));
    text.split(',')
        .map(|part| match part.trim().as_bytes() {
            [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                let first = u16::from(digit - b'0') * 100;
                Ok((first, first + 99))
            }
            _ => {
                let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
                match (number(first), number(last)) {
                    (Some(first), Some(last)) if first <= last => Ok((first, last)),
                    _ => Err(wrong()),
                }
            }
        })
        .collect()
}

fn method(text: String) -> Result<Method, String> {
    let upper = text.to_ascii_uppercase();
    upper.parse().map_err(|_| format!("method={text}: a method, such as GET"))
}

fn path(text: String) -> Result<String, String> {
    match text.starts_with('/') && !text.contains(['?', '#']) {
        true => Ok(text),
        false => {
            Err(format!("path={text}: what the path begins with, from its slash on and without a query"))
        }
    }
}

/// `name`, or `name:value`. Values that are never shown are not compared either: an answer would tell them.
fn headers(given: Vec<String>, plan: &Plan) -> Result<Vec<(HeaderName, Option<HeaderValue>)>, String> {
    if given.len() > MOST_HEADERS {
        return Err(format!("header: at most {MOST_HEADERS}"));
    }
    let settings = plan.admin.as_ref().map(|admin| admin.tap.clone()).unwrap_or_default();
    given
        .iter()
        .map(|text| {
            let wrong = || format!("header={text}: a name, or a name, a colon and a value");
            let (name, value) = match text.split_once(':') {
                Some((name, value)) => (name, Some(value.trim())),
                None => (text.as_str(), None),
            };
            let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
            if value.is_some() && is_secret(&settings, name.as_str()) {
                return Err(format!(
                    "header={name}:…: its value is never shown; header={name} asks whether it is there"
                ));
            }
            let value = value.map(HeaderValue::from_str).transpose().map_err(|_| wrong())?;
            Ok((name, value))
        })
        .collect()
}

fn is_secret(settings: &TapSettings, name: &str) -> bool {
    settings.secret_headers.iter().any(|secret| match secret.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == secret,
    })
}

fn time(name: &str, text: &str) -> Result<Duration, String> {
    let read = serde_json::from_value::<Timeout>(Value::String(text.to_owned()));
    read.map(|time| time.0).map_err(|_| format!("{name}={text}: a span of time, such as 20ms, 5s or 1m30s"))
}

/// In a million.
fn share(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at most a million"
        )]
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(((percent * 10_000.0).round() as u32).max(1)),
        _ => Err(format!("percent={text}: more than 0, at most 100")),
    }
}

/// A value as forms write it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegate_config::{Secrets, SourceText};

    use super::*;

    struct None;

    impl Secrets for None {
        fn env(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            Err(path.display().to_string())
        }
    }

    fn plan() -> Plan {
        let text = "
admin: { address: 127.0.0.1:0, tap: { redact: { headers: [x-key] } } }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ name: shop, rules: [{ name: all, forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: [127.0.0.1:1] } }
";
        let source = SourceText { name: "t".to_owned(), text: text.to_owned() };
        tidegate_config::load(&[source], Path::new("/"), &None).expect("it is right").plan
    }

    #[test]
    fn all_parameters_are_read() {
        let query = "listener=web&route=shop/all&upstream=up&status=5xx,404,0,200-204&method=get&path=/a%2Fb&host=A.b\
            &header=x-a:+b&header=authorization&reason=any&slowerThan=1s500ms&percent=0.5&limit=20&rate=5&time=30s&body=256&plugin=";
        let asked = Asked::parse(query, &plan()).expect("all is right");
        let text = |text: &str| Some(text.to_owned());
        let filter = TapFilter {
            listener: text("web"),
            route: text("shop/all"),
            upstream: text("up"),
            plugin: Option::None,
            statuses: vec![(500, 599), (404, 404), (0, 0), (200, 204)],
            method: Some(Method::GET),
            path: text("/a/b"),
            host: text("a.b"),
            headers: vec![
                (HeaderName::from_static("x-a"), Some(HeaderValue::from_static("b"))),
                (http::header::AUTHORIZATION, Option::None),
            ],
            reason: text("any"),
            slower_than: Some(Duration::from_millis(1500)),
            share: Some(5000),
        };
        let limits = TapLimits { requests: 20, rate: 5, body: 256 };
        assert_eq!(asked, Asked { filter, limits, time: Duration::from_secs(30) });
        let limits = TapLimits { requests: LIMIT, rate: RATE, body: 0 };
        assert_eq!(Asked::parse("", &plan()), Ok(Asked { filter: TapFilter::default(), limits, time: TIME }));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (query, expected) in [
            ("rout=shop", "rout: no such parameter; did you mean route?"),
            ("route=shp", "route=shp: no route of that name runs; did you mean shop?"),
            ("route=nothing-like-it", "there are shop, shop/all"),
            ("plugin=auth", "plugin=auth: no plugin of that name runs; there is none"),
            ("reason=no_rout", "did you mean no_route?"),
            ("status=6xx", "status=6xx: such as 404, 5xx"),
            ("status=500-400", "status=500-400: such as"),
            ("method=a%20b", "a method, such as GET"),
            ("path=a", "from its slash on"),
            ("path=/a?b", "without a query"),
            ("header=a%20b", "a name, a colon and a value"),
            ("header=authorization:x", "header=authorization asks whether it is there"),
            ("header=x-key:x", "its value is never shown"),
            ("slowerThan=5", "slowerThan=5: a span of time"),
            ("percent=0", "percent=0: more than 0"),
            ("percent=NaN", "percent=NaN: more than 0"),
            ("limit=0", "limit=0: a whole number from 1 to 10000"),
            ("limit=1&limit=2", "limit: once is enough"),
            ("rate=1001", "rate=1001: a whole number from 1 to 1000"),
            ("time=2h", "time=2h: more than 0s, at most 1h"),
            ("body=5000", "body=5000: a whole number from 0 to 4096"),
            ("reason=bogus", "reason=bogus: there is no such reason; there are any, "),
            ("host=*", "host=*: a host, such as shop.example.com or *.example.com, without a port"),
            ("host=a.test:8080", "host=a.test:8080: a host, such as"),
            ("host=a%20b", "host=a b: a host, such as"),
            ("host=*.", "host=*.: a host, such as"),
            ("host=%f", "percent signs begin two digits"),
        ] {
            let why = Asked::parse(query, &plan()).expect_err(query);
            assert!(why.contains(expected), "{query}: {why}");
        }
    }
}
