//! The filter's configuration: where the key is looked for, which keys are known, and to whom they belong.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidegate_sdk::units;

/// What the plugin's `config` holds, checked.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub struct Config {
    header: String,
    keys: Vec<Key>,
    consumer_header: Option<String>,
}

/// A known key and whose it is. Its `Debug` form does not show the key.
pub struct Key {
    bytes: Vec<u8>,
    consumer: Option<String>,
}

impl Config {
    /// The header that holds the key, in lower case.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The header that tells the upstream whose key it was.
    pub fn consumer_header(&self) -> Option<&str> {
        self.consumer_header.as_deref()
    }

    /// The known key that equals these bytes. How long it takes does not depend on which key it is, nor on how much of
    /// one was guessed right.
    pub fn find(&self, presented: &[u8]) -> Option<&Key> {
        let mut found = None;
        for key in &self.keys {
            if equal(&key.bytes, presented) {
                found = Some(key);
            }
        }
        found
    }
}

impl Key {
    /// Whose key it is.
    pub fn consumer(&self) -> Option<&str> {
        self.consumer.as_deref()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// Compares without stopping at the first difference.
fn equal(known: &[u8], presented: &[u8]) -> bool {
    if known.len() != presented.len() {
        return false;
    }
    let difference = known.iter().zip(presented).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Document)
}

/// Lets only requests with a known API key pass.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    /// The header that holds the key; in `authorization` it may follow `Bearer` or `ApiKey`.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "HeaderName::text"))]
    header: HeaderName,
    /// The known keys, at least one.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Vec<KeyEntry>"))]
    keys: Keys,
    /// The header that tells the upstream whose key it was. What a client wrote there is removed.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    consumer_header: Option<HeaderName>,
}

/// An entry of `keys`.
#[cfg(not(target_family = "wasm"))]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema; `Entry` is what reads")]
enum KeyEntry {
    /// A key, or several, one a line.
    Keys(String),
    /// Keys of one consumer.
    Owned {
        /// A key, or several, one a line.
        key: String,
        /// Whose they are.
        consumer: Option<String>,
    },
}

impl TryFrom<Document> for Config {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let header = document.header.0;
        let consumer_header = document.consumer_header.map(|name| name.0);
        if consumer_header.as_ref() == Some(&header) {
            return Err(format!(
                "consumerHeader: \"{header}\" is the header of the key; it must be another one"
            ));
        }
        Ok(Config { header, keys: document.keys.0, consumer_header })
    }
}

struct HeaderName(String);

#[cfg(not(target_family = "wasm"))]
impl HeaderName {
    /// The default, as it is written.
    fn text() -> String {
        HeaderName::default().0
    }
}

impl Default for HeaderName {
    fn default() -> Self {
        HeaderName("x-api-key".to_owned())
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let name = String::deserialize(source)?;
        units::header_name(&name).map(HeaderName).map_err(D::Error::custom)
    }
}

struct Keys(Vec<Key>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
        let mut keys: Vec<Key> = Vec::new();
        let mut entries = 0;
        while let Some(entry) = list.next_element::<Entry>()? {
            if entry.0.iter().any(|key| keys.iter().any(|known| known.bytes == key.bytes)) {
                return Err(A::Error::custom(format!("entry {entries} repeats a key of an earlier one")));
            }
            keys.extend(entry.0);
            entries += 1;
        }
        match keys.is_empty() {
            true => Err(A::Error::custom("no key is listed, so every request would be refused")),
            false => Ok(Keys(keys)),
        }
    }
}

/// One entry of the list: a string of one key a line, or `{ key, consumer }`.
struct Entry(Vec<Key>);

impl Entry {
    fn of_lines(text: &str, consumer: Option<&str>) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Entry(lines.map(|key| Key { bytes: key.into(), consumer: consumer.map(str::to_owned) }).collect())
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key as a string, or { key, consumer }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::of_lines(text, None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let (mut key, mut consumer) = (None::<String>, None::<String>);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "key" => key = Some(map.next_value()?),
                "consumer" => consumer = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(A::Error::unknown_field(&name, &["key", "consumer"]));
                }
            }
        }
        let key = key.ok_or_else(|| A::Error::missing_field("key"))?;
        if consumer.as_ref().is_some_and(|name| name.is_empty() || name.contains(char::is_control)) {
            return Err(A::Error::custom("consumer: is empty or has a control character in it"));
        }
        Ok(Entry::of_lines(&key, consumer.as_deref()))
    }
}
