//! The document as it may be shown: as written, with references instead of their values, without values under keys that
//! look like secrets, and without those in URLs.

mod urls;

use std::borrow::Cow;

use serde_json::Value;

pub use urls::without_secrets;

const HIDDEN: &str = "(redacted)";

/// Takes secrets out of a document as written.
pub(crate) fn redact(document: &mut Value) {
    for plugin in
        document.get_mut("plugins").and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut())
    {
        for part in ["config", "vmConfig", "environment", "tests"] {
            if let Some(part) = plugin.get_mut(part) {
                redact_config(part);
            }
        }
    }
    redact_tokens(document);
    for part in ["tracing", "metrics", "accessLog"] {
        document.get_mut(part).into_iter().for_each(redact_collectors);
    }
    let upstreams = document.get_mut("upstreams").and_then(Value::as_object_mut);
    for upstream in upstreams.into_iter().flat_map(|upstreams| upstreams.values_mut()) {
        for part in ["login", "discover", "health", "session"] {
            if let Some(part) = upstream.get_mut(part) {
                redact_keys(part);
            }
        }
    }
    for part in ["listeners", "routes"] {
        if let Some(part) = document.get_mut(part) {
            redact_filters(part);
        }
    }
    redact_urls(document);
}

/// Every text: URLs are in many places.
fn redact_urls(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = without_secrets(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_urls),
        Value::Object(entries) => entries.values_mut().for_each(redact_urls),
        _ => {}
    }
}

/// The admin API's own token, and that of the gateway to which this one pushes. Keys of its certificates are paths.
fn redact_tokens(document: &mut Value) {
    for owner in ["/admin", "/admin/push"] {
        let token = document.pointer_mut(owner).and_then(|owner| owner.get_mut("token"));
        token.into_iter().for_each(hide);
    }
}

/// Collectors are given keys in fields of any name.
fn redact_collectors(part: &mut Value) {
    if let Value::Array(parts) = part {
        return parts.iter_mut().for_each(redact_collectors);
    }
    let headers = part.get_mut("otlp").and_then(|otlp| otlp.get_mut("headers"));
    for value in headers.and_then(Value::as_object_mut).into_iter().flat_map(|headers| headers.values_mut()) {
        *value = HIDDEN.into();
    }
}

/// Everything in listeners and routes that holds headers or the configuration of a plugin.
fn redact_filters(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact_filters),
        Value::Object(entries) => {
            for (key, value) in entries {
                match key.as_str() {
                    "config" => redact_config(value),
                    "headers" | "set" | "add" | "query" | "session" => redact_keys(value),
                    _ => redact_filters(value),
                }
            }
        }
        _ => {}
    }
}

/// Text is a configuration in a form of its own, where secrets cannot be told from the rest.
fn redact_config(value: &mut Value) {
    match value {
        Value::String(_) => hide(value),
        _ => redact_keys(value),
    }
}

fn redact_keys(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact_keys),
        Value::Object(entries) => {
            for (key, value) in entries {
                if looks_secret(key) { hide(value) } else { redact_keys(value) }
            }
        }
        _ => {}
    }
}

/// References show only where a secret comes from: they stay.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if is_reference(text) => {}
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(entries) => entries.values_mut().for_each(hide),
        Value::Null => {}
        other => *other = HIDDEN.into(),
    }
}

fn is_reference(text: &str) -> bool {
    let inside = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    inside.is_some_and(|inside| !inside.contains(['{', '}']))
}

/// Words that name secrets, wherever they are in a key.
const PARTS: [&str; 11] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "authorization",
    "cookie",
    "apikey",
    "privatekey",
    "signature",
];
/// Words that name secrets when they are a whole word of a key.
const WORDS: [&str; 6] = ["key", "keys", "auth", "pass", "pwd", "salt"];

fn looks_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if PARTS.iter().any(|part| plain.contains(part)) {
        return true;
    }
    let mut words = vec![String::new()];
    for c in key.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut()
            && c.is_alphanumeric()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.iter().any(|word| WORDS.contains(&word.as_str())) || WORDS.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_look_secret_are_found() {
        for key in [
            "key",
            "KEYS",
            "apiKey",
            "x-api-key",
            "client_secret",
            "Authorization",
            "dbPassword",
            "accessToken",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for key in ["header", "monkey", "author", "passage", "keyboard", "region"] {
            assert!(!looks_secret(key), "{key}");
        }
    }

    #[test]
    fn only_secrets_are_replaced() {
        let mut document = json!({
            "admin": { "token": "t1", "push": { "url": "http://u:p@a.test", "token": "t2" },
                "tls": { "certificates": [{ "cert": "c.pem", "key": "k.pem" }] } },
            "plugins": {
                "a": { "config": { "header": "x", "keys": ["k1", "${file:keys.txt}"], "in": { "token": 7 } } },
                "b": { "config": "free text", "environment": { "REGION": "eu", "API_KEY": "k2" } },
                "c": { "tests": [{ "request": { "path": "/", "headers": { "authorization": "k3", "x": "y" } } }] }
            },
            "listeners": [{ "tls": { "certificates": [{ "cert": "c.pem", "key": "k.pem" }] } }],
            "routes": [{ "rules": [{ "filters": [
                { "plugin": "a", "config": { "secret": "s" } },
                { "requestHeaders": { "set": { "authorization": "Basic abc", "x-a": "b" } } }
            ] }] }]
        });
        redact(&mut document);
        let expected = json!({
            "admin": { "token": "(redacted)", "push": { "url": "http://(redacted)@a.test", "token": "(redacted)" },
                "tls": { "certificates": [{ "cert": "c.pem", "key": "k.pem" }] } },
            "plugins": {
                "a": { "config": {
                    "header": "x", "keys": ["(redacted)", "${file:keys.txt}"], "in": { "token": "(redacted)" }
                } },
                "b": { "config": "(redacted)", "environment": { "REGION": "eu", "API_KEY": "(redacted)" } },
                "c": { "tests": [{ "request": {
                    "path": "/", "headers": { "authorization": "(redacted)", "x": "y" }
                } }] }
            },
            "listeners": [{ "tls": { "certificates": [{ "cert": "c.pem", "key": "k.pem" }] } }],
            "routes": [{ "rules": [{ "filters": [
                { "plugin": "a", "config": { "secret": "(redacted)" } },
                { "requestHeaders": { "set": { "authorization": "(redacted)", "x-a": "b" } } }
            ] }] }]
        });
        assert_eq!(document, expected);
    }
}
