//! An answer made of a kept response: whole, a part of it, or that nothing has changed.

use tidegate_sdk::{Fields, Reply, Value};

use crate::control::split;
use crate::date;
use crate::freshness::date_of;
use crate::record::Entry;

/// What a request wants to know.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    none_match: Vec<Value>,
    modified_since: Option<Value>,
    range: Option<Value>,
    if_range: Option<Value>,
    /// `if-match` or `if-unmodified-since`, which only the upstream can answer.
    pub has_precondition: bool,
}

impl Asked {
    /// Of a request's headers. Parts are for GET only (RFC 9110, 14.2).
    pub fn of(fields: &Fields, method: &str) -> Self {
        Asked {
            none_match: fields.get_all("if-none-match").cloned().collect(),
            modified_since: fields.get("if-modified-since").cloned(),
            range: fields.get("range").filter(|_| method == "GET").cloned(),
            if_range: fields.get("if-range").cloned(),
            has_precondition: fields.get("if-match").is_some() || fields.get("if-unmodified-since").is_some(),
        }
    }

    /// Whether a part is wanted.
    pub fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// The answer; `status` is this cache's part of `cache-status`.
    pub fn answer(&self, entry: Entry, now: u64, status: &str) -> Reply {
        let age = entry.age(now).to_string();
        let length = entry.body.len();
        let mut reply = if entry.status == 200 && self.is_unchanged(&entry) {
            let tagged = entry.headers.get("etag").is_some();
            // RFC 9110, 15.4.5: no more of the representation than it takes to tell which it is.
            let kept = |name: &str| {
                name == "content-location"
                    || !(name.starts_with("content-") || tagged && name == "last-modified")
            };
            headers(Reply::new(304), &entry, kept)
        } else {
            match self.part(&entry) {
                Part::Whole => headers(Reply::new(entry.status), &entry, |_| true).body(entry.body),
                Part::Of(from, to) => {
                    let part = entry.body.get(from..=to).unwrap_or_default().to_vec();
                    let range = format!("bytes {from}-{to}/{length}");
                    headers(Reply::new(206), &entry, |_| true).header("content-range", range).body(part)
                }
                Part::Outside => Reply::new(416).header("content-range", format!("bytes */{length}")),
            }
        };
        reply = reply.header("age", age).header("cache-status", status);
        reply.details("cache_hit")
    }

    /// RFC 9110, 13.2.2.
    fn is_unchanged(&self, entry: &Entry) -> bool {
        if !self.none_match.is_empty() {
            let tag = entry.headers.get("etag").map(|tag| opaque(tag));
            let mut tags = self.none_match.iter().flat_map(|line| split(line));
            return tags.any(|known| known == b"*" || tag == Some(opaque(known)));
        }
        let since = self.modified_since.as_ref().and_then(|since| date::parse(since));
        let modified = date_of(&entry.headers, "last-modified");
        since.zip(modified).is_some_and(|(since, modified)| modified <= since)
    }

    fn part(&self, entry: &Entry) -> Part {
        let Some(range) = self.range.as_ref().filter(|_| entry.status == 200) else { return Part::Whole };
        if let Some(condition) = &self.if_range {
            let strong = |tag: &Value| tag == condition && tag.starts_with(b"\"");
            let same = entry.headers.get("etag").is_some_and(strong)
                || entry.headers.get("last-modified") == Some(condition) && is_strong_date(entry);
            if !same {
                return Part::Whole;
            }
        }
        part(range, entry.body.len())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(usize, usize),
    Outside,
}

/// One range of bytes; several are answered with all.
fn part(range: &[u8], length: usize) -> Part {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<usize>().unwrap_or(usize::MAX))
    };
    let range = std::str::from_utf8(range).ok().and_then(|range| range.trim().strip_prefix("bytes="));
    let Some((from, to)) = range.and_then(|range| range.split_once('-')) else { return Part::Whole };
    let last = length.saturating_sub(1);
    match (from.is_empty(), to.is_empty()) {
        (false, _) => {
            let to_number = if to.is_empty() { Some(usize::MAX) } else { number(to) };
            match number(from).zip(to_number) {
                Some((from, to)) if from > to => Part::Whole,
                Some((from, _)) if from >= length => Part::Outside,
                Some((from, to)) => Part::Of(from, to.min(last)),
                None => Part::Whole,
            }
        }
        (true, false) => match number(to) {
            Some(0) => Part::Outside,
            Some(_) if length == 0 => Part::Outside,
            Some(count) => Part::Of(length.saturating_sub(count), last),
            None => Part::Whole,
        },
        (true, true) => Part::Whole,
    }
}

/// Whether the date of the last change tells two versions apart: when it was a second ago at least, so that there was no
/// time for another change of the same date (RFC 9110, 8.8.2.2).
fn is_strong_date(entry: &Entry) -> bool {
    let date = |name| date_of(&entry.headers, name);
    date("last-modified").zip(date("date")).is_some_and(|(modified, given)| modified < given)
}

/// A tag without its mark of weakness.
pub(crate) fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn headers(reply: Reply, entry: &Entry, kept: impl Fn(&str) -> bool) -> Reply {
    let kept = entry.headers.iter().filter(|(name, _)| kept(name));
    kept.fold(reply, |reply, (name, value)| reply.header(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let cases = [
            ("bytes=0-3", Part::Of(0, 3)),
            ("bytes=5-", Part::Of(5, 9)),
            ("bytes=5-99", Part::Of(5, 9)),
            ("bytes=-3", Part::Of(7, 9)),
            ("bytes=-30", Part::Of(0, 9)),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=x-", Part::Whole),
            ("bytes=-", Part::Whole),
            ("items=0-1", Part::Whole),
            ("bytes=99999999999999999999-", Part::Outside),
        ];
        for (range, expected) in cases {
            assert_eq!(part(range.as_bytes(), 10), expected, "{range}");
        }
        assert_eq!(part(b"bytes=0-", 0), Part::Outside);
    }
}
