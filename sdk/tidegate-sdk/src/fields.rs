//! Header values and lists of headers that a filter owns: of its own answers, its calls, and their answers.

use std::fmt;
use std::ops::Deref;

/// The value of a header: bytes, which mostly are text.
///
/// It compares with strings and bytes, so that the common case needs no conversion:
///
/// ```
/// use tidegate_sdk::Value;
///
/// let value = Value::from("gzip, br");
/// assert_eq!(value, "gzip, br");
/// assert_eq!(value.to_str(), Some("gzip, br"));
/// assert_eq!(Value::from(b"\xff".to_vec()).to_str(), None);
/// assert_eq!(Value::default(), "");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(Vec<u8>);

impl Value {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text, if it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Its text as another type, as a number; `None` when it is no such thing.
    ///
    /// ```
    /// # use tidegate_sdk::Value;
    /// assert_eq!(Value::from(" 42").parse::<u64>(), Some(42));
    /// assert_eq!(Value::from("x").parse::<u64>(), None);
    /// ```
    pub fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        self.to_str()?.trim().parse().ok()
    }

    /// Its bytes, to keep.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        self.0 == *other
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Value(bytes.to_vec())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value(text.into_bytes())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value(text.as_bytes().to_vec())
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

/// Headers in order; names are found in any case and may repeat.
///
/// ```
/// use tidegate_sdk::Fields;
///
/// let mut fields = Fields::new();
/// fields.add("Via", "a");
/// fields.add("via", "b");
/// assert_eq!(fields.get("VIA").unwrap(), "a");
/// assert_eq!(fields.get_all("via").count(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Fields(Vec::new())
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.get_all(name).next()
    }

    /// The first value of a header, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// All values of a header, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds a value to those that a header has.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Gives a header one value, in place of all that it has.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        self.remove(&name);
        self.add(name, value);
    }

    /// Removes a header with all its values.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// Every header with its value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names that are no UTF-8 cannot be header names; they are shown with replacement characters.
    pub(crate) fn from_pairs(pairs: host::Pairs) -> Self {
        let name = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(name) => name,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Fields(pairs.into_iter().map(|(key, value)| (name(key), Value(value))).collect())
    }

    pub(crate) fn to_pairs(&self) -> host::Pairs {
        self.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Fields(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

use crate::host;
