//! How a registry wants to be asked: the challenge of a 401, and the token that a registry's token server gives.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Uri};
use serde::Deserialize;
use tidegate_config::plan::OciReference;

use crate::fetch::client::{Call, Client, header, told};
use crate::fetch::docker_config::Credentials;

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The value of `authorization` that answers a 401.
pub(crate) async fn authorize(
    client: &Client,
    (headers, actions): (&HeaderMap, &str),
    reference: &OciReference,
    credentials: &Credentials,
    plain: bool,
) -> Result<HeaderValue, String> {
    let registry = &reference.registry;
    if let Credentials::Helper(name) = credentials {
        return Err(format!(
            "{registry} wants credentials, which are kept by the helper \"{name}\"; helpers are not run: give a \
             pullSecret with an \"auths\" entry"
        ));
    }
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    match challenges.filter_map(Challenge::parse).next() {
        Some(Challenge::Basic) => match credentials {
            Credentials::Basic { user, password } => basic(user, password),
            _ => Err(format!("{registry} wants a user and a password, and there are none for it")),
        },
        Some(Challenge::Bearer { realm, service, scope }) => {
            let scope = scope.unwrap_or_else(|| format!("repository:{}:{actions}", reference.repository));
            let parts = (realm.as_str(), service.as_deref(), scope.as_str());
            token(client, parts, credentials, plain).await
        }
        None => Err(format!("{registry} answers 401 and asks neither for a token nor for a password")),
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
    header(AUTHORIZATION, &value).map(|(_, mut value)| {
        value.set_sensitive(true);
        value
    })
}

/// Asks the token server.
async fn token(
    client: &Client,
    (realm, service, scope): (&str, Option<&str>, &str),
    credentials: &Credentials,
    plain: bool,
) -> Result<HeaderValue, String> {
    let mut query = format!("scope={}", encode(scope));
    if let Some(service) = service {
        query.push_str(&format!("&service={}", encode(service)));
    }
    let separator = if realm.contains('?') { '&' } else { '?' };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let (url, method, body) = match credentials {
        Credentials::Identity(token) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            query.push_str(&format!(
                "&grant_type=refresh_token&client_id=tidegate&refresh_token={}",
                encode(token)
            ));
            (realm.to_owned(), Method::POST, query)
        }
        Credentials::Basic { user, password } => {
            headers.insert(AUTHORIZATION, basic(user, password)?);
            (format!("{realm}{separator}{query}"), Method::GET, String::new())
        }
        Credentials::None | Credentials::Helper(_) => {
            (format!("{realm}{separator}{query}"), Method::GET, String::new())
        }
    };
    let url: Uri = url.parse().map_err(|_| format!("the registry's token server {realm:?} is no URL"))?;
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if plain => {}
        _ => return Err(format!("the registry's token server {} is not HTTPS", told(&url))),
    }
    let call = Call { method, url: &url, headers, body: Bytes::from(body), limit: TOKEN_BYTES };
    let answer = client.send(call).await?;
    if !answer.status.is_success() {
        return Err(format!("{}: the token server answers {}", told(&url), answer.status));
    }
    let wrong = || format!("{}: the token server's answer has no token", told(&url));
    let token: Token = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty()).ok_or_else(wrong)?;
    let (_, mut value) = header(AUTHORIZATION, &format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…",scope="…"` or `Basic realm="…"`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            let value = Some(value.to_owned());
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = value,
                "service" => service = value,
                "scope" => scope = value,
                _ => {}
            }
            rest = after.trim_start().trim_start_matches(',');
        }
        realm.map(|realm| Self::Bearer { realm, service, scope })
    }
}

/// Percent-encodes all but letters, digits and a few others.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// Most bytes of a token server's answer.
const TOKEN_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (text, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a.test/t\",service=\"s\",scope=\"repository:a/b:pull,push\"",
                bearer("https://a.test/t", Some("s"), Some("repository:a/b:pull,push")),
            ),
            ("bearer Realm=https://a.test/t, error=x", bearer("https://a.test/t", None, None)),
            ("Bearer service=\"s\"", None),
            ("Bearer realm=\"open", None),
            ("Digest realm=\"x\"", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("repository:a/b:pull & more"), "repository:a/b:pull%20%26%20more");
    }
}
