//! Trace headers: W3C tracecontext, B3 in one field and in several, Jaeger. What is not valid is not there.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::plan::TraceFormat;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
const UBER: HeaderName = HeaderName::from_static("uber-trace-id");

/// What a request says of the trace that it is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: u128,
    /// The span of who asks.
    pub(crate) span: u64,
    /// What was decided; none: nobody has.
    pub(crate) decided: Option<Decision>,
    /// `tracestate`, which others write.
    pub(crate) state: Option<String>,
}

/// Whether a trace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is not.
    No,
    /// It is.
    Yes,
    /// It is, and whoever hears of it is to keep it as well, whatever they would decide: B3 and Jaeger can say that.
    Debug,
}

impl Decision {
    /// Without more than that.
    pub(crate) fn plain(sampled: bool) -> Self {
        if sampled { Self::Yes } else { Self::No }
    }

    /// Whether it is kept.
    pub(crate) fn is_sampled(self) -> bool {
        self != Self::No
    }

    fn digit(self) -> u8 {
        u8::from(self.is_sampled())
    }
}

/// The first context that there is, by the formats in their order.
pub(crate) fn read(headers: &HeaderMap, formats: &[TraceFormat]) -> Option<Context> {
    formats.iter().find_map(|format| match format {
        TraceFormat::W3c => w3c(headers),
        TraceFormat::B3 => b3(text(headers, &B3)?),
        TraceFormat::B3Multi => b3_multi(headers),
        TraceFormat::Jaeger => jaeger(text(headers, &UBER)?),
    })
}

/// What was decided of a trace that has no context yet: B3 can say that alone.
pub(crate) fn decided(headers: &HeaderMap, formats: &[TraceFormat]) -> Option<Decision> {
    formats.iter().find_map(|format| match format {
        TraceFormat::B3 => text(headers, &B3).and_then(b3_flag),
        TraceFormat::B3Multi => b3_multi_flag(headers),
        TraceFormat::W3c | TraceFormat::Jaeger => None,
    })
}

/// Takes out what others say of a trace that is not this one.
pub(crate) fn forget(headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
}

/// Takes out what [`read`] reads.
pub(crate) fn remove(headers: &mut HeaderMap, formats: &[TraceFormat]) {
    for format in formats {
        let names: &[HeaderName] = match format {
            // The state goes on as it came, with whatever parent.
            TraceFormat::W3c => &[TRACEPARENT],
            TraceFormat::B3 => &[B3],
            TraceFormat::B3Multi => &[B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS],
            TraceFormat::Jaeger => &[UBER],
        };
        names.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Writes a context in all of these formats.
pub(crate) fn write(
    headers: &mut HeaderMap,
    formats: &[TraceFormat],
    (trace, span): (u128, u64),
    decided: Decision,
) {
    let flag = decided.digit();
    let is_debug = decided == Decision::Debug;
    for format in formats {
        match format {
            TraceFormat::W3c => put(headers, TRACEPARENT, format!("00-{trace:032x}-{span:016x}-{flag:02x}")),
            TraceFormat::B3 if is_debug => put(headers, B3, format!("{trace:032x}-{span:016x}-d")),
            TraceFormat::B3 => put(headers, B3, format!("{trace:032x}-{span:016x}-{flag}")),
            TraceFormat::B3Multi => {
                put(headers, B3_TRACE, format!("{trace:032x}"));
                put(headers, B3_SPAN, format!("{span:016x}"));
                // Never both, which could say different things.
                let (says, other, flag) =
                    if is_debug { (B3_FLAGS, B3_SAMPLED, 1) } else { (B3_SAMPLED, B3_FLAGS, flag) };
                headers.remove(other);
                put(headers, says, flag.to_string());
            }
            TraceFormat::Jaeger => {
                let flags = if is_debug { 3 } else { flag };
                put(headers, UBER, format!("{trace:032x}:{span:016x}:0:{flags}"));
            }
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    // Two of them could be read in two ways.
    all.next().is_none().then_some(first)
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
fn w3c(headers: &HeaderMap) -> Option<Context> {
    let parent = text(headers, &TRACEPARENT)?;
    let mut parts = parent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = match version {
        "00" => parts.next().is_none(),
        // Later versions may say more at the end.
        _ => version != "ff" && lower(version, 2).is_some(),
    };
    let flags = u8::try_from(lower(flags, 2)?).ok()?;
    let state: Vec<&str> =
        headers.get_all(&TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let (trace, span) = (lower(trace, 32)?, u64::try_from(lower(span, 16)?).ok()?);
    (known && trace != 0 && span != 0).then(|| Context {
        trace,
        span,
        decided: Some(Decision::plain(flags & 1 == 1)),
        state: (!state.is_empty()).then(|| state.join(",")),
    })
}

/// <https://github.com/openzipkin/b3-propagation#single-header>
fn b3(value: &str) -> Option<Context> {
    let mut parts = value.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let decided = match parts.next() {
        None => None,
        Some(flag) => Some(b3_flag(flag)?),
    };
    ids(trace, span, decided)
}

fn b3_flag(flag: &str) -> Option<Decision> {
    match flag {
        "1" => Some(Decision::Yes),
        "d" => Some(Decision::Debug),
        "0" => Some(Decision::No),
        _ => None,
    }
}

fn b3_multi(headers: &HeaderMap) -> Option<Context> {
    let (trace, span) = (text(headers, &B3_TRACE)?, text(headers, &B3_SPAN)?);
    ids(trace, span, b3_multi_flag(headers))
}

fn b3_multi_flag(headers: &HeaderMap) -> Option<Decision> {
    let debug = text(headers, &B3_FLAGS) == Some("1");
    match text(headers, &B3_SAMPLED) {
        _ if debug => Some(Decision::Debug),
        Some("1" | "true") => Some(Decision::Yes),
        Some("0" | "false") => Some(Decision::No),
        _ => None,
    }
}

/// <https://www.jaegertracing.io/docs/1.76/apis/#propagation-format>
fn jaeger(value: &str) -> Option<Context> {
    // Some clients encode it as they do parts of URLs.
    let decoded = value.replace("%3A", ":").replace("%3a", ":");
    let mut parts = decoded.split(':');
    let (trace, span, _, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (trace, span, flags) = (loose(trace, 32)?, loose(span, 16)?, loose(flags, 2)?);
    let span = u64::try_from(span).ok()?;
    // 1: sampled, 2: debug, which implies it.
    let decided = if flags & 2 == 0 { Decision::plain(flags & 1 == 1) } else { Decision::Debug };
    (trace != 0 && span != 0).then_some(Context { trace, span, decided: Some(decided), state: None })
}

fn ids(trace: &str, span: &str, decided: Option<Decision>) -> Option<Context> {
    let trace =
        if trace.len() == 16 { loose(trace, 16)? } else { loose(trace, 32).filter(|_| trace.len() == 32)? };
    let span = u64::try_from(loose(span, 16).filter(|_| span.len() == 16)?).ok()?;
    (trace != 0 && span != 0).then_some(Context { trace, span, decided, state: None })
}

/// Exactly so many digits, in lower case.
fn lower(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Up to so many digits.
fn loose(text: &str, digits: usize) -> Option<u128> {
    let valid = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [TraceFormat; 4] =
        [TraceFormat::W3c, TraceFormat::B3, TraceFormat::B3Multi, TraceFormat::Jaeger];

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_is_written_is_read() {
        for format in ALL {
            for decided in [Decision::Yes, Decision::No, Decision::Debug] {
                let mut map = HeaderMap::new();
                write(&mut map, &[format], (0xab << 100 | 7, 0xf00d), decided);
                let found = read(&map, &[format]);
                // The W3C's has no word for it.
                let lost = format == TraceFormat::W3c && decided == Decision::Debug;
                let decided = Some(if lost { Decision::Yes } else { decided });
                let expected = Context { trace: 0xab << 100 | 7, span: 0xf00d, decided, state: None };
                assert_eq!(found, Some(expected), "{format:?} {map:?}");
                remove(&mut map, &[format]);
                assert!(map.is_empty(), "{map:?}");
            }
        }
    }

    #[test]
    fn others_are_understood() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let number = u128::from_str_radix(trace, 16).expect("a number");
        for (fields, decided) in [
            (
                &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03")][..],
                Some(Decision::Yes),
            ),
            (
                &[("traceparent", "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-later")],
                Some(Decision::No),
            ),
            (
                &[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-d-05e3ac9a4f6e3b90")],
                Some(Decision::Debug),
            ),
            (&[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331")], None),
            (
                &[
                    ("x-b3-traceid", "0AF7651916CD43DD8448EB211C80319C"),
                    ("x-b3-spanid", "b7ad6b7169203331"),
                    ("x-b3-flags", "1"),
                ],
                Some(Decision::Debug),
            ),
            (
                &[("uber-trace-id", "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:0")],
                Some(Decision::No),
            ),
            (
                &[("uber-trace-id", "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:2")],
                Some(Decision::Debug),
            ),
            (
                &[("uber-trace-id", "0af7651916cd43dd8448eb211c80319c%3Ab7ad6b7169203331%3a0%3A1")],
                Some(Decision::Yes),
            ),
        ] {
            let found = read(&headers(fields), &ALL).unwrap_or_else(|| panic!("{fields:?}"));
            assert_eq!((found.trace, found.span, found.decided), (number, 0xb7ad_6b71_6920_3331, decided));
        }
    }

    #[test]
    fn b3_can_decide_alone() {
        for (fields, expected) in [
            (&[("b3", "0")][..], Some(Decision::No)),
            (&[("b3", "d")], Some(Decision::Debug)),
            (&[("b3", "x")], None),
            (&[("x-b3-sampled", "false")], Some(Decision::No)),
            (&[("x-b3-sampled", "0"), ("x-b3-flags", "1")], Some(Decision::Debug)),
            (&[("uber-trace-id", "0")], None),
            (&[], None),
        ] {
            let headers = headers(fields);
            assert_eq!((read(&headers, &ALL), decided(&headers, &ALL)), (None, expected), "{fields:?}");
        }
    }

    #[test]
    fn what_is_not_valid_is_not_there() {
        for fields in [
            &[("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")][..],
            &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")],
            &[("traceparent", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
            &[("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
            &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")],
            &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")],
            &[
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ],
            &[("b3", "0")],
            &[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-x")],
            &[("x-b3-traceid", "0af7651916cd43dd8448eb211c80319c")],
            &[("uber-trace-id", "1:2:3")],
            &[("uber-trace-id", "+1:2:0:1")],
        ] {
            assert_eq!(read(&headers(fields), &ALL), None, "{fields:?}");
        }
    }
}
