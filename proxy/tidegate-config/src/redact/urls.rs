//! URLs as they may be shown: without users and passwords, without the values of parameters that look like secrets.

use std::borrow::Cow;

use super::{HIDDEN, is_reference, looks_secret};

/// A text that may have URLs in it, without what is secret in them.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let shown = without_parameters(&without_users(text));
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// Without users and passwords. A URL goes on to be looked at behind them: there may be others in it.
fn without_users(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        rest = behind_user(after).unwrap_or(after);
        if rest.len() < after.len() {
            shown.push_str(HIDDEN);
            shown.push('@');
        }
    }
    shown.push_str(rest);
    shown
}

/// Without the values of parameters that look like secrets.
fn without_parameters(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let (url, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str("://");
        parameters_without(url, &mut shown);
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// Whether a URL in a text ends there.
fn ends(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '`' | '\'' | '<' | '>' | '\\')
}

/// What is behind a user's name and password in a text that begins with a URL's authority, where it has them.
fn behind_user(text: &str) -> Option<&str> {
    let url = text.get(..text.find(ends).unwrap_or(text.len()))?;
    let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some(at) = authority.rfind('@') {
        return text.get(at + 1..);
    }
    // A password that was not encoded may have such a character: then what is before it is no port.
    let behind = authority.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    let (_, port) = behind.map_or(authority, |(_, behind)| behind).split_once(':')?;
    if port.bytes().all(|byte| byte.is_ascii_digit()) || is_reference(port) {
        return None;
    }
    // Nor need it be what ends a URL, up to the next one.
    let nearby = text.get(url.len()..).and_then(|rest| rest.split("://").next()).map_or(0, str::len);
    let at = url.rfind('@').or_else(|| text.get(..url.len() + nearby)?.find('@'))?;
    text.get(at + 1..)
}

fn parameters_without(url: &str, shown: &mut String) {
    let Some((path, query)) = url.split_once('?') else { return shown.push_str(url) };
    shown.push_str(path);
    for (index, pair) in query.split('&').enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        parameter_without(pair, shown);
    }
}

fn parameter_without(mut pair: &str, shown: &mut String) {
    loop {
        match pair.split_once('=') {
            Some((name, value)) if is_secret(name) && !value.is_empty() && !is_reference(value) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
                // What is behind the query is no part of the value.
                return shown.push_str(value.find('#').and_then(|at| value.get(at..)).unwrap_or_default());
            }
            _ => {}
        }
        // A value may be a URL, with parameters of its own.
        let Some((before, inner)) = pair.split_once('?') else { return shown.push_str(pair) };
        shown.push_str(before);
        shown.push('?');
        pair = inner;
    }
}

/// Signed URLs have short names for what signs them.
fn is_secret(name: &str) -> bool {
    looks_secret(name) || name.eq_ignore_ascii_case("sig") || name.contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_passwords_and_secret_parameters_are_taken_out() {
        for (text, expected) in [
            ("https://user:pw@a.test/x", "https://(redacted)@a.test/x"),
            ("https://token@a.test", "https://(redacted)@a.test"),
            ("https://user:p@w@a.test:8443/x", "https://(redacted)@a.test:8443/x"),
            ("https://user:p/w@a.test/x", "https://(redacted)@a.test/x"),
            ("https://user:p?w@a.test/x", "https://(redacted)@a.test/x"),
            ("https://user:p#w@a.test/x", "https://(redacted)@a.test/x"),
            ("https://a.test/x?token=abc&b=c", "https://a.test/x?token=(redacted)&b=c"),
            (
                "https://a.test/x?b=c&X-Amz-Signature=ab#d",
                "https://a.test/x?b=c&X-Amz-Signature=(redacted)#d",
            ),
            ("https://a.test/x?se=1&sig=a%3D", "https://a.test/x?se=1&sig=(redacted)"),
            ("https://a.test/x?%74oken=abc", "https://a.test/x?%74oken=(redacted)"),
            ("http://u:p@a.test,http://v:q@b.test", "http://(redacted)@a.test,http://(redacted)@b.test"),
            (
                "http://a.test,http://u:p@b.test/?key=1",
                "http://a.test,http://(redacted)@b.test/?key=(redacted)",
            ),
            ("https://a.test/http://u:p@b.test/", "https://a.test/http://(redacted)@b.test/"),
            (
                "https://a.test/?to=http://u:p@b.test/?sig=c?d&e=f",
                "https://a.test/?to=http://(redacted)@b.test/?sig=(redacted)&e=f",
            ),
            ("https://u:p w@a.test/x", "https://(redacted)@a.test/x"),
            ("https://u:p'w@a.test/x", "https://(redacted)@a.test/x"),
            ("https://u:p://w@a.test/x", "https://(redacted)@a.test/x"),
            (
                "\"https://u:p@a.test\" is not one, as http://b?key=1 is",
                "\"https://(redacted)@a.test\" is not one, as http://b?key=(redacted) is",
            ),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "no URL with user:pw@host",
            "https://a.test:8443/b?c=d#e",
            "https://[::1]:80/@scope/x",
            "https://a.test/@scope/x",
            "https://a.test:80/@scope/x",
            "oci://a.test/b/c@sha256:00",
            "oci://a.test:5000/b/c@sha256:00",
            "https://a.test/?token=${env:TOKEN}",
            "https://a.test:${env:PORT}/@x",
            "https://a.test/?token=",
            "://",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }
}
