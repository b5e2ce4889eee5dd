//! The pieces of HTTP that a document holds: methods, header names and values, paths, expressions.

use crate::problem::Fault;
use regex::RegexBuilder;

fn is_token(text: &str) -> bool {
    let special = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special(b))
}

/// A method, upper case as it goes over the wire.
pub(crate) fn check_method(text: &str) -> Result<(), Fault> {
    if !is_token(text) {
        return Err(Fault::new(format!("{text:?} is not a method")).hint("for instance GET or POST"));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(Fault::new(format!("{text:?} is not a method: methods are upper case"))
            .hint(format!("did you mean {upper:?}?")));
    }
    Ok(())
}

/// A header name, in lower case.
pub(crate) fn parse_header_name(text: &str) -> Result<String, Fault> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let fault = Fault::new(format!("{text:?} is not a header name"));
    Err(match text.strip_prefix(':') {
        Some("authority") => fault.hint("the host is matched by hostnames and changed by rewrite"),
        Some(_) => fault.hint("method and path are matched by method and path"),
        None => fault.hint("letters, digits and - without blanks, for instance x-request-id"),
    })
}

/// Headers that the gateway itself writes: to change them would break the framing of messages.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// The name of a header that a document may set or remove, in lower case.
pub(crate) fn parse_changed_header(text: &str) -> Result<String, Fault> {
    let name = parse_header_name(text)?;
    if FRAMING.contains(&name.as_str()) {
        return Err(Fault::new(format!("{text:?} is set by the gateway, it cannot be changed")));
    }
    if name == "host" {
        return Err(Fault::new(format!("{text:?} cannot be changed as a header"))
            .hint("rewrite: { hostname: … } changes the host"));
    }
    Ok(name)
}

/// A header value: no control characters but the tab, no blanks at the ends.
pub(crate) fn check_header_value(text: &str) -> Result<(), Fault> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(Fault::new(format!("{text:?} is not a header value: it has the character {c:?}"))
            .hint("one line without control characters"));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        return Err(Fault::new(format!("{text:?} is not a header value: it begins or ends with a blank")));
    }
    Ok(())
}

/// A path as requests have it after normalisation.
pub(crate) fn check_path(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a path: {why}"));
    if !text.starts_with('/') {
        return Err(fault("it does not begin with /").hint(format!("write {:?}", format!("/{text}"))));
    }
    if text.contains('?') {
        return Err(fault("it has a query").hint("query: { name: value } matches the query"));
    }
    if text.contains('#') {
        return Err(fault("fragments are not sent in requests"));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(fault(&format!("it has the character {c:?}")).hint("percent-encode it"));
    }
    if text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(fault(
            "it has empty segments or dots, which requests no longer have when they are matched",
        ));
    }
    Ok(())
}

/// Memory that one compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// An expression that compiles when it is anchored at both ends.
pub(crate) fn check_regex(text: &str) -> Result<(), Fault> {
    // Alone first: `a)|(b` is none, but becomes one inside of the group that anchors it.
    let alone = regex_syntax::parse(text).map_err(|error| error.to_string());
    let anchored = alone.and_then(|_| {
        let built = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_BYTES).build();
        built.map_err(|error| error.to_string())
    });
    match anchored {
        Ok(_) => Ok(()),
        Err(error) => {
            // The library draws the expression over several lines; the reason is on the last one.
            let reason = error.lines().last().unwrap_or_default().trim();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            Err(Fault::new(format!("{text:?} is not a regular expression: {reason}")))
        }
    }
}

/// A name of a listener, plugin, route, rule or upstream: it appears in logs, metrics and other names.
pub(crate) fn check_name(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new("the name is empty"));
    }
    if text.len() > 253 {
        return Err(Fault::new(format!("the name has {} characters", text.len())).hint("at most 253"));
    }
    match text.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '@' | '"')) {
        Some(c) => Err(Fault::new(format!("the name {text:?} has the character {c:?}"))
            .hint("no blanks, no control characters, no @ and no quotes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_stand_alone() {
        for text in ["/v[0-9]+", "", "a|b", "(?i)x"] {
            assert_eq!(check_regex(text), Ok(()), "{text}");
        }
        for text in ["(", "a)|(b", "[", "a{1000}{1000}{1000}", "(?<n>a)(?<n>b)"] {
            assert!(check_regex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_those_that_requests_have() {
        for text in ["/", "/a/b.txt", "/a%20b", "/a/"] {
            assert_eq!(check_path(text), Ok(()), "{text}");
        }
        for text in ["", "a", "/a?b", "/a#b", "/a b", "/a//b", "/a/../b", "/ä"] {
            assert!(check_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_values_stay_on_their_line() {
        for text in ["", "a b", "a\tb", "ä"] {
            assert_eq!(check_header_value(text), Ok(()), "{text:?}");
        }
        for text in ["a\r\nb: c", "a\0", " a", "a\t"] {
            assert!(check_header_value(text).is_err(), "{text:?}");
        }
    }
}
