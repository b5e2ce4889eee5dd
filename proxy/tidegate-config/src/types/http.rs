//! The pieces of HTTP that a document holds: methods, header names and values, paths, expressions.

use crate::problem::Fault;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;

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

/// A header value: visible ASCII, no blanks at the ends.
pub(crate) fn check_header_value(text: &str) -> Result<(), Fault> {
    if let Some(c) = text.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        return Err(Fault::new(format!("{text:?} is not a header value: it has the character {c:?}"))
            .hint("one line of visible ASCII characters"));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        return Err(Fault::new(format!("{text:?} is not a header value: it begins or ends with a blank")));
    }
    Ok(())
}

/// A path as requests have it after normalisation: another form of it would never be equal to one.
pub(crate) fn check_path(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a path: {why}"));
    if !text.starts_with('/') {
        return Err(fault("it does not begin with /").hint(format!("write {:?}", format!("/{text}"))));
    }
    if text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(fault(
            "it has empty segments or dots, which requests no longer have when they are matched",
        ));
    }
    for (at, c) in text.char_indices() {
        match c {
            '?' => return Err(fault("it has a query").hint("query: { name: value } matches the query")),
            '#' => return Err(fault("fragments are not sent in requests")),
            ';' => {
                return Err(
                    fault("requests lose ; and what follows it in a segment").hint("%3B is a ; in a name")
                );
            }
            '\\' => return Err(fault("requests with a backslash are refused")),
            '%' => check_triplet(&text[at..]).map_err(|(why, hint)| fault(why).hint(hint))?,
            _ if c.is_ascii_alphanumeric() || "/-._~:@!$&'()*+,=".contains(c) => {}
            _ => {
                let encoded: String = c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
                return Err(fault(&format!("it has the character {c:?}")).hint(format!("write {encoded}")));
            }
        }
    }
    Ok(())
}

/// The percent-encoded byte at the beginning, in the form that it has in requests; why not and what to write.
fn check_triplet(text: &str) -> Result<(), (&'static str, String)> {
    let digits = text.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
        return Err(("% is not followed by two hexadecimal digits", "a plain % is written %25".to_owned()));
    };
    let plain = char::from(byte);
    if plain.is_ascii_alphanumeric() || matches!(plain, '-' | '.' | '_' | '~') {
        return Err(("a character is encoded that requests have plain", format!("write {plain}")));
    }
    if matches!(plain, '/' | '\\') || plain.is_ascii_control() {
        let why = "requests with an encoded slash, backslash or control character are refused";
        return Err((why, "leave it out".to_owned()));
    }
    let upper = digits.unwrap_or_default().to_ascii_uppercase();
    if digits != Some(upper.as_str()) {
        return Err(("requests have percent-encoding in upper case", format!("write %{upper}")));
    }
    Ok(())
}

/// Memory that one compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// An expression over the whole of a value, by bytes: no byte that is not UTF-8 lets a value pass by.
pub(crate) fn anchored(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(REGEX_BYTES)
        .build()
}

/// An expression that compiles when it is anchored at both ends.
pub(crate) fn check_regex(text: &str) -> Result<(), Fault> {
    // Alone first: `a)|(b` is none, but becomes one inside of the group that anchors it.
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build();
    let alone = parser.parse(text).map_err(|error| error.to_string());
    let anchored = alone.and_then(|_| anchored(text).map_err(|error| error.to_string()));
    match anchored {
        Ok(_) => Ok(()),
        Err(error) => {
            // The library draws the expression over several lines; the reason is on the last one.
            let reason = error.lines().last().unwrap_or_default().trim().trim_end_matches('.');
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
        for text in ["/v[0-9]+", "", "a|b", "(?i)x", "ä"] {
            assert_eq!(check_regex(text), Ok(()), "{text}");
        }
        for text in ["(", "a)|(b", "[", "a{1000}{1000}{1000}", "(?<n>a)(?<n>b)", "\\p{L}"] {
            assert!(check_regex(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_those_that_requests_have() {
        for text in ["/", "/a/b.txt", "/a%20b", "/a/", "/%C3%A4", "/a:b@c!$&'()*+,="] {
            assert_eq!(check_path(text), Ok(()), "{text}");
        }
        for text in [
            "", "a", "/a?b", "/a#b", "/a b", "/a//b", "/a/../b", "/ä", "/a;b", "/a\\b", "/%", "/%2", "/%2f",
            "/%7E", "/%c3", "/%\u{e4}",
        ] {
            assert!(check_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_values_stay_on_their_line() {
        for text in ["", "a b", "a\tb"] {
            assert_eq!(check_header_value(text), Ok(()), "{text:?}");
        }
        for text in ["a\r\nb: c", "a\0", " a", "a\t", "ä"] {
            assert!(check_header_value(text).is_err(), "{text:?}");
        }
    }
}
