//! URLs as they may be shown: without users and passwords, without the values of parameters that look like secrets.

use std::borrow::Cow;

use super::{HIDDEN, is_reference, looks_secret};

/// A text that may have URLs in it, without what is secret in them.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let (url, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str("://");
        url_without(url, &mut shown);
        rest = behind;
    }
    shown.push_str(rest);
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// Whether a URL in a text ends there.
fn ends(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '`' | '\'' | '<' | '>' | '\\')
}

/// One URL, of which the scheme is written.
fn url_without(url: &str, shown: &mut String) {
    match behind_user(url) {
        Some(host) => {
            shown.push_str(HIDDEN);
            shown.push('@');
            parameters_without(host, shown);
        }
        None => parameters_without(url, shown),
    }
}

/// What is behind a user's name and password, where there is one.
fn behind_user(url: &str) -> Option<&str> {
    let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((_, host)) = authority.rsplit_once('@') {
        return url.get(authority.len() - host.len()..);
    }
    // A password that was not encoded may have such a character: then what is before it is no port.
    let behind = authority.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    let (_, port) = behind.map_or(authority, |(_, behind)| behind).split_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port || is_reference(port) { None } else { url.rsplit_once('@').map(|(_, host)| host) }
}

fn parameters_without(url: &str, shown: &mut String) {
    let Some((path, query)) = url.split_once('?') else { return shown.push_str(url) };
    shown.push_str(path);
    for (index, pair) in query.split('&').enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, value)) if is_secret(name) && !value.is_empty() && !is_reference(value) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
                // What is behind the query is no part of the value.
                shown.push_str(value.find('#').and_then(|at| value.get(at..)).unwrap_or_default());
            }
            _ => shown.push_str(pair),
        }
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
