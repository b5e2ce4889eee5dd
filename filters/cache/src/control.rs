//! `cache-control` of requests and responses (RFC 9111, 5.2; RFC 5861).

use tidegate_sdk::Fields;

/// The directives that a shared cache knows. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, also of single fields.
    pub no_cache: bool,
    /// `private`, also of single fields.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `s-maxage`.
    pub s_maxage: Option<u64>,
    /// `min-fresh`.
    pub min_fresh: Option<u64>,
    /// `max-stale`; without a value any time.
    pub max_stale: Option<u64>,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`.
    pub stale_if_error: Option<u64>,
}

impl Control {
    /// Of a message's headers.
    pub fn of(headers: &Fields) -> Self {
        let mut control = Control::default();
        for line in headers.get_all("cache-control") {
            for directive in split(line) {
                let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
                    Some(at) => {
                        let (name, value) = directive.split_at(at);
                        (name.trim_ascii(), value.get(1..))
                    }
                    None => (directive, None),
                };
                control.add(&name.to_ascii_lowercase(), value);
            }
        }
        control
    }

    /// Of a request's headers: without `cache-control`, `pragma: no-cache` is the same as that (RFC 9111, 5.4).
    pub fn of_request(headers: &Fields) -> Self {
        let mut control = Control::of(headers);
        if headers.get("cache-control").is_none() {
            let is_no_cache = |entry: &[u8]| entry.eq_ignore_ascii_case(b"no-cache");
            control.no_cache = headers.get_all("pragma").any(|line| split(line).any(is_no_cache));
        }
        control
    }

    fn add(&mut self, name: &[u8], value: Option<&[u8]>) {
        // What is no number counts as stale at once.
        let seconds = || Some(value.and_then(seconds).unwrap_or(0));
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            // Of several the strictest.
            b"max-age" => self.max_age = least(self.max_age, seconds()),
            b"s-maxage" => self.s_maxage = least(self.s_maxage, seconds()),
            b"min-fresh" => self.min_fresh = seconds(),
            b"max-stale" => {
                self.max_stale = Some(value.map_or(u64::MAX, |value| self::seconds(value).unwrap_or(0)))
            }
            b"stale-while-revalidate" => self.stale_while_revalidate = seconds(),
            b"stale-if-error" => self.stale_if_error = seconds(),
            _ => {}
        }
    }
}

/// The entries of a list; commas in quotation marks do not count.
pub fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let entries = line.split(move |byte| {
        let was = escaped;
        escaped = quoted && *byte == b'\\' && !was;
        if *byte == b'"' && !was {
            quoted = !quoted;
        }
        *byte == b',' && !quoted
    });
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// The seconds of `age`: of a list the first member counts (RFC 9111, 5.1).
pub fn age(value: &[u8]) -> Option<u64> {
    seconds(split(value).next()?)
}

/// A number of seconds; more than fit are as many as fit (RFC 9111, 1.2.2).
pub fn seconds(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().unwrap_or(MOST);
    Some(std::cmp::min(number, MOST))
}

const MOST: u64 = 1 << 31;

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Control {
        Control::of(&Fields::from_iter([("cache-control", value)]))
    }

    #[test]
    fn directives_are_read() {
        let control = of("Public, max-age=60 , S-MaxAge=\"10\", foo=\"a, no-store\", private=\"x\"");
        assert!(control.public && control.private && !control.no_store);
        assert_eq!((control.max_age, control.s_maxage), (Some(60), Some(10)));
        assert_eq!(of("max-age=10, max-age=5").max_age, Some(5));
        assert_eq!(of("max-age=x").max_age, Some(0));
        assert_eq!(of("max-age=99999999999999999999999").max_age, Some(MOST));
        assert_eq!((of("max-stale").max_stale, of("max-stale=3").max_stale), (Some(u64::MAX), Some(3)));
        assert!(of("a=\"\\\"\", no-store").no_store);
    }
}
