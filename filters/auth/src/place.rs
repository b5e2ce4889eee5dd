//! Where in a request credentials are: a header, a key of the query, a cookie.

use serde::{Deserialize, Deserializer};
use tidegate_request_parts::Taken;
use tidegate_sdk::{Value, log, units};

use crate::Request;

/// A place for credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Place {
    /// The header of this name; of several with one name the first.
    Header(#[serde(deserialize_with = "header_name")] String),
    /// The key of this name in the query.
    Query(#[serde(deserialize_with = "name")] String),
    /// The cookie of this name.
    Cookie(#[serde(deserialize_with = "name")] String),
}

impl Place {
    /// What is there. An empty value counts as none.
    pub(crate) fn read(&self, request: &Request) -> Option<Value> {
        let value = match self {
            Place::Header(name) => request.headers().get(name),
            Place::Query(name) => request.query_decoded(name).map(Value::from),
            Place::Cookie(name) => request.cookie(name),
        };
        value.filter(|value| !value.trim_ascii().is_empty())
    }
}

/// Takes credentials out of requests before they go on.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    headers: Vec<String>,
    query: Vec<String>,
    cookies: Vec<String>,
}

impl Sweep {
    /// Of these places.
    pub(crate) fn new<'a>(places: impl Iterator<Item = &'a Place>) -> Self {
        let mut sweep = Sweep::default();
        for place in places {
            let (list, name) = match place {
                Place::Header(name) => (&mut sweep.headers, name),
                Place::Query(name) => (&mut sweep.query, name),
                Place::Cookie(name) => (&mut sweep.cookies, name),
            };
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
        sweep
    }

    /// Whether it takes this header out.
    pub(crate) fn reads(&self, header: &str) -> bool {
        self.headers.iter().any(|name| name == header)
    }

    /// Takes them out, and tells the filters behind this one where there were any.
    pub(crate) fn apply(&self, request: &Request) {
        let mut taken: Vec<&str> = Vec::new();
        for name in self.headers.iter().filter(|name| request.headers().contains(name)) {
            request.headers().remove(name);
            taken.push(name);
        }
        if !self.query.is_empty() {
            let path = request.path();
            if let Some(swept) = without_keys(&path, &self.query) {
                request.set_path(&swept);
                taken.push(Taken::QUERY);
            }
        }
        if !self.cookies.is_empty() && self.sweep_cookies(request) {
            taken.push("cookie");
        }
        let told = if taken.is_empty() { Ok(()) } else { Taken::note(request, &taken) };
        if let Err(error) = told {
            log::warn!("other filters are not told of credentials that were taken out: {error}");
        }
    }

    /// Whether there were any.
    fn sweep_cookies(&self, request: &Request) -> bool {
        let values = request.headers().get_all("cookie");
        let mut kept: Vec<Vec<u8>> = Vec::with_capacity(values.len());
        let mut changed = false;
        for value in &values {
            let pairs = value.split(|byte| *byte == b';');
            let left: Vec<&[u8]> = pairs.filter(|pair| !self.is_swept_cookie(pair)).collect();
            changed |= left.len() != value.split(|byte| *byte == b';').count();
            let left = left.join(&b';');
            if !left.trim_ascii().is_empty() {
                kept.push(left.trim_ascii().to_vec());
            }
        }
        if !changed {
            return false;
        }
        request.headers().remove("cookie");
        for value in kept {
            request.headers().add("cookie", value);
        }
        true
    }

    fn is_swept_cookie(&self, pair: &[u8]) -> bool {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        self.cookies.iter().any(|swept| match swept.strip_suffix('*') {
            // Ways of their own accord have cookies that differ in their last letters.
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => swept.as_bytes() == name,
        })
    }
}

/// The path without these keys of its query; nothing when none of them is there.
fn without_keys(path: &str, keys: &[String]) -> Option<String> {
    let (base, query) = path.split_once('?')?;
    let is_key = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        keys.iter().any(|key| key == name || decoded(name) == key.as_bytes())
    };
    if !query.split('&').any(|pair| is_key(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    match kept.is_empty() {
        true => Some(base.to_owned()),
        false => Some(format!("{base}?{}", kept.join("&"))),
    }
}

/// A name of a query with its percent signs and pluses decoded, as it is read.
fn decoded(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => crate::bytes::from_hex(&[*high, *low]),
            _ => None,
        };
        match (first, escaped) {
            (_, Some(byte)) => {
                out.extend(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(*byte),
        }
        rest = after;
    }
    out
}

/// Reads a header's name, into lower case.
pub(crate) fn header_name<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let name = String::deserialize(source)?;
    units::header_name(&name).map_err(serde::de::Error::custom)
}

fn name<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let name = String::deserialize(source)?;
    match name.is_empty() || name.contains(|char: char| char.is_control() || "=;& ".contains(char)) {
        true => {
            Err(serde::de::Error::custom("a name must not be empty, nor have `=`, `;`, `&` or spaces in it"))
        }
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_queries() {
        let keys = ["key".to_owned()];
        for (path, want) in [
            ("/a", None),
            ("/a?b=1", None),
            ("/a?key=1", Some("/a")),
            ("/a?b=1&key=2&c", Some("/a?b=1&c")),
            ("/a?%6bey=1&key=2&b", Some("/a?b")),
            ("/a?key", Some("/a")),
            ("/a?keys=1", None),
        ] {
            assert_eq!(without_keys(path, &keys).as_deref(), want, "{path}");
        }
    }
}
