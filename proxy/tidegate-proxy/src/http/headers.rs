//! Header changes that rules ask for, and the fields by which upstreams learn about the client.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tidegate_config::plan::HeaderChanges;
use tidegate_wasm::AddFields;

use super::added;

/// Who the connection is with: `x-forwarded-for`.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The authority that the client asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `http` or `https`.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Identifies the request in logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// The `host` of a request. Nearly all begin with it, so it is looked at before anything is hashed.
#[inline]
pub(crate) fn host(headers: &HeaderMap) -> Option<&HeaderValue> {
    match headers.iter().next() {
        Some((name, value)) if *name == header::HOST => Some(value),
        _ => headers.get(header::HOST),
    }
}

/// How a client calls itself. That is mostly among the first fields, of which a few are looked at before anything is hashed.
#[inline]
pub(crate) fn agent(headers: &HeaderMap) -> Option<&[u8]> {
    let first = headers.iter().take(FIRST).find(|(name, _)| **name == header::USER_AGENT);
    first.map(|(_, value)| value).or_else(|| headers.get(header::USER_AGENT)).map(HeaderValue::as_bytes)
}

/// As many are looked at cost no more than one that is hashed.
const FIRST: usize = 4;

/// A header change that would break messages.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ChangesError {
    /// Not a name.
    #[error("`{0}` is not a header name")]
    Name(String),
    /// Not a value.
    #[error("the value of `{0}` has bytes that a header cannot have")]
    Value(String),
    /// The gateway needs it for itself.
    #[error("`{0}` frames messages or is for one connection only: it cannot be changed")]
    Reserved(String),
}

/// [`HeaderChanges`] ready to be applied.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompiledChanges {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
    /// One of them is about a field that the gateway adds by itself.
    about_added: bool,
}

impl CompiledChanges {
    /// Compiles the changes.
    ///
    /// # Errors
    /// A name or value that is none, or a field that the gateway alone may write.
    pub(crate) fn build(changes: &HeaderChanges) -> Result<Self, ChangesError> {
        let fields = |pairs: &[(String, String)], adds: bool| {
            pairs.iter().map(|(name, value)| field(name, value, adds)).collect::<Result<Vec<_>, _>>()
        };
        let (set, add) = (fields(&changes.set, false)?, fields(&changes.add, true)?);
        let remove: Vec<_> = changes.remove.iter().map(|name| removable(name)).collect::<Result<_, _>>()?;
        let names = set.iter().chain(&add).map(|(name, _)| name).chain(&remove);
        // What is asked for is told to servers as the client wrote it.
        let about_added = names.clone().any(|name| added::is_added(name.as_str()) || *name == header::HOST);
        Ok(Self { about_added, set, add, remove })
    }

    /// Whether the fields that the gateway adds by itself must be there before.
    pub(crate) fn is_about_added(&self) -> bool {
        self.about_added
    }

    /// Sets, then adds, then removes.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn field(name: &str, value: &str, adds: bool) -> Result<(HeaderName, HeaderValue), ChangesError> {
    let parsed = writable(name)?;
    if adds && parsed == header::HOST {
        return Err(ChangesError::Reserved(name.to_owned()));
    }
    let value = HeaderValue::from_str(value).map_err(|_| ChangesError::Value(name.to_owned()))?;
    Ok((parsed, value))
}

fn removable(name: &str) -> Result<HeaderName, ChangesError> {
    let parsed = writable(name)?;
    if parsed == header::HOST { Err(ChangesError::Reserved(name.to_owned())) } else { Ok(parsed) }
}

/// A name that changes may touch.
fn writable(name: &str) -> Result<HeaderName, ChangesError> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ChangesError::Name(name.to_owned()))?;
    let reserved = matches!(
        parsed.as_str(),
        "connection"
            | "content-length"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    if reserved { Err(ChangesError::Reserved(name.to_owned())) } else { Ok(parsed) }
}

/// What upstreams are told about the other end of a connection; made once for each connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    told: Rc<Told>,
}

/// The values of the fields.
#[derive(Debug)]
struct Told {
    address: HeaderValue,
    scheme: HeaderValue,
}

impl Client {
    /// The other end, and whether it speaks TLS.
    pub(crate) fn new(address: IpAddr, tls: bool) -> Self {
        // An IPv4 client of a dual-stack socket is still an IPv4 client.
        let text = address.to_canonical().to_string();
        let address = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
        Self { told: Rc::new(Told { address, scheme }) }
    }

    /// Its address as text.
    pub(super) fn address(&self) -> &[u8] {
        self.told.address.as_bytes()
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &[u8] {
        self.told.scheme.as_bytes()
    }

    /// What writes the fields for a guest that looks at them.
    pub(super) fn writer(&self) -> Rc<dyn AddFields> {
        self.told.clone()
    }
}

impl AddFields for Told {
    fn add(&self, headers: &mut HeaderMap, request_id: &[u8; 32]) {
        self.insert(headers);
        if let Ok(id) = HeaderValue::from_bytes(request_id) {
            headers.insert(REQUEST_ID, id);
        }
    }

    fn adds(&self, name: &[u8]) -> bool {
        super::added::is_added(name)
    }
}

impl Told {
    fn insert(&self, headers: &mut HeaderMap) {
        let host = host(headers).cloned();
        headers.reserve(4);
        headers.insert(FORWARDED_FOR, self.address.clone());
        headers.insert(FORWARDED_PROTO, self.scheme.clone());
        if let Some(host) = host {
            headers.insert(FORWARDED_HOST, host);
        }
    }
}

/// What a request says of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claims {
    /// Nothing: the cheap case.
    None,
    /// Something, which is replaced, because anybody can write it.
    Untrusted,
    /// Something, by a proxy that is believed: it is kept and appended to.
    Trusted,
}

/// Writes `x-forwarded-for`, `-proto` and `-host`.
pub(crate) fn forwarded(headers: &mut HeaderMap, client: &Client, claims: Claims) {
    if claims == Claims::Trusted {
        let host = headers.get(header::HOST).cloned();
        extend_forwarded(headers, &client.told, host);
        return;
    }
    if claims == Claims::Untrusted {
        remove_claims(headers);
    }
    client.told.insert(headers);
}

/// The proxy before us is believed: its list gets one more member, the rest stays as it said.
fn extend_forwarded(headers: &mut HeaderMap, client: &Told, host: Option<HeaderValue>) {
    let mut list = Vec::with_capacity(64);
    for value in headers.get_all(FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(client.address.as_bytes());
    let list = HeaderValue::try_from(list).unwrap_or_else(|_| client.address.clone());
    extend_standard(headers, client);
    headers.insert(FORWARDED_FOR, list);
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, client.scheme.clone());
    }
    if let Some(host) = host
        && !headers.contains_key(FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// `forwarded` (RFC 7239), where the proxy speaks of it, gets one more element too.
fn extend_standard(headers: &mut HeaderMap, client: &Told) {
    let mut list = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        return;
    }
    // An IPv6 address is in brackets and, for its colons, in quotes (section 6).
    let six = client.address.as_bytes().contains(&b':');
    let (before, after) = if six { (&b"for=\"["[..], &b"]\""[..]) } else { (&b"for="[..], &b""[..]) };
    for part in [before, client.address.as_bytes(), after, b";proto=", client.scheme.as_bytes()] {
        list.extend_from_slice(part);
    }
    if let Ok(list) = HeaderValue::try_from(list) {
        headers.insert(header::FORWARDED, list);
    }
}

fn remove_claims(headers: &mut HeaderMap) {
    headers.remove(header::FORWARDED);
    headers.remove("x-real-ip");
    let others: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in others {
        headers.remove(name);
    }
}

/// Makes request ids; one for each worker.
#[derive(Debug)]
pub(crate) struct RequestIds {
    seed: [u64; 2],
    made: Cell<u64>,
}

impl RequestIds {
    /// `seed`: random, different for each worker and start.
    pub(crate) fn new(seed: u128) -> Self {
        Self { seed: [(seed >> 64) as u64, seed as u64], made: Cell::new(0) }
    }

    /// The next id as a value.
    pub(crate) fn next(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.digits()).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }

    /// The next id: 32 hexadecimal digits, never the same twice in a worker.
    pub(super) fn digits(&self) -> [u8; 32] {
        let made = self.made.get().wrapping_add(1);
        self.made.set(made);
        let mut text = [0; 32];
        for (digits, seed) in text.chunks_exact_mut(16).zip(self.seed) {
            let mixed = mix(seed.wrapping_add(made));
            let (high, low) = digits.split_at_mut(8);
            high.copy_from_slice(&hexadecimal((mixed >> 32) as u32));
            low.copy_from_slice(&hexadecimal(mixed as u32));
        }
        text
    }
}

/// Eight digits at once: each request has such a number, and a loop over its digits costs several times as much.
fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    for (shift, mask) in [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f * ONES)] {
        digits = (digits | digits << shift) & mask;
    }
    // One in each byte whose digit is a letter, which are further on in ASCII.
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Keeps the client's request id if it is one printable value of sensible length, else writes a new one. `claims` as
/// for [`forwarded`].
pub(crate) fn request_id(headers: &mut HeaderMap, ids: &RequestIds, claims: bool) {
    if claims {
        let mut given = headers.get_all(REQUEST_ID).iter();
        if let (Some(id), None) = (given.next(), given.next())
            && matches!(id.len(), 1..=MAX_REQUEST_ID)
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return;
        }
    }
    headers.insert(REQUEST_ID, ids.next());
}

/// A bijection that spreads neighbouring numbers (the finalizer of splitmix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// HTTP/2 may send a cookie in crumbs; everything else expects one field (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for number in [0, 1, 9, 10, 15, 16, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, 0x9a9a_a9a9, u32::MAX] {
            assert_eq!(hexadecimal(number), format!("{number:08x}").as_bytes());
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn map(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    #[test]
    fn changes_are_set_then_add_then_remove() {
        let changes = HeaderChanges {
            set: pairs(&[("a", "1"), ("host", "other")]),
            add: pairs(&[("a", "2"), ("b", "3")]),
            remove: vec!["c".to_owned(), "absent".to_owned()],
        };
        let mut headers = map(&[("host", "h"), ("b", "0"), ("c", "0")]);
        headers.append("a", HeaderValue::from_static("x"));
        headers.append("a", HeaderValue::from_static("y"));
        CompiledChanges::build(&changes).expect("valid").apply(&mut headers);
        assert_eq!(values(&headers, "a"), ["1", "2"]);
        assert_eq!(values(&headers, "b"), ["0", "3"]);
        assert_eq!(values(&headers, "c"), [""; 0]);
        assert_eq!(values(&headers, "host"), ["other"]);
    }

    #[test]
    fn changes_that_break_messages_are_refused() {
        for name in ["content-length", "transfer-encoding", "connection", "upgrade", "te", "keep-alive"] {
            let set = HeaderChanges { set: pairs(&[(name, "1")]), ..HeaderChanges::default() };
            let remove = HeaderChanges { remove: vec![name.to_owned()], ..HeaderChanges::default() };
            let error = ChangesError::Reserved(name.to_owned());
            assert_eq!(CompiledChanges::build(&set).err(), Some(error.clone()), "{name}");
            assert_eq!(CompiledChanges::build(&remove).err(), Some(error), "{name}");
        }
        let add_host = HeaderChanges { add: pairs(&[("host", "h")]), ..HeaderChanges::default() };
        assert!(CompiledChanges::build(&add_host).is_err());
        let bad_name = HeaderChanges { remove: vec!["a b".to_owned()], ..HeaderChanges::default() };
        assert_eq!(CompiledChanges::build(&bad_name).err(), Some(ChangesError::Name("a b".to_owned())));
        let bad_value = HeaderChanges { set: pairs(&[("a", "x\r\ny: z")]), ..HeaderChanges::default() };
        assert_eq!(CompiledChanges::build(&bad_value).err(), Some(ChangesError::Value("a".to_owned())));
    }

    #[test]
    fn upstreams_learn_about_the_client() {
        let client = Client::new("::ffff:192.0.2.1".parse().expect("an address"), true);
        let mut headers = map(&[("host", "a.example:8443")]);
        forwarded(&mut headers, &client, Claims::None);
        assert_eq!(values(&headers, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(values(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&headers, "x-forwarded-host"), ["a.example:8443"]);
    }

    #[test]
    fn nobody_is_believed_at_the_edge() {
        let client = Client::new("2001:db8::1".parse().expect("an address"), false);
        let mut headers = map(&[
            ("host", "a"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/admin"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-request-id", "mine"),
        ]);
        forwarded(&mut headers, &client, Claims::Untrusted);
        assert_eq!(values(&headers, "x-forwarded-for"), ["2001:db8::1"]);
        assert_eq!(values(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&headers, "x-forwarded-host"), ["a"]);
        assert_eq!(values(&headers, "x-request-id"), ["mine"]);
        for gone in ["x-forwarded-prefix", "x-real-ip", "forwarded"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_appended_to() {
        let client = Client::new("192.0.2.7".parse().expect("an address"), false);
        let mut headers =
            map(&[("host", "a"), ("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")]);
        headers.append("x-forwarded-for", HeaderValue::from_static("198.51.100.2"));
        forwarded(&mut headers, &client, Claims::Trusted);
        assert_eq!(values(&headers, "x-forwarded-for"), ["198.51.100.1, 198.51.100.2, 192.0.2.7"]);
        assert_eq!(values(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&headers, "x-forwarded-host"), ["a"]);
        assert!(!headers.contains_key("forwarded"), "it did not speak of it");
        for (address, expected) in [
            ("192.0.2.7", "for=198.51.100.1, for=192.0.2.7;proto=http"),
            ("2001:db8::1", "for=198.51.100.1, for=\"[2001:db8::1]\";proto=http"),
        ] {
            let client = Client::new(address.parse().expect("an address"), false);
            let mut headers = map(&[("host", "a"), ("forwarded", "for=198.51.100.1")]);
            forwarded(&mut headers, &client, Claims::Trusted);
            assert_eq!(values(&headers, "forwarded"), [expected]);
        }
    }

    #[test]
    fn request_ids_are_unique_and_well_formed() {
        let ids = RequestIds::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let mut made: Vec<HeaderValue> = (0..1000).map(|_| ids.next()).collect();
        assert!(made.iter().all(|id| id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit)));
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 1000);
    }

    #[test]
    fn sane_request_ids_are_kept() {
        let ids = RequestIds::new(1);
        let long = "x".repeat(129);
        for (given, kept) in
            [("abc-1", true), ("", false), ("a b", false), (long.as_str(), false), ("\u{e9}", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).expect("a value"));
            request_id(&mut headers, &ids, true);
            assert_eq!(headers[REQUEST_ID].as_bytes() == given.as_bytes(), kept, "{given}");
        }
        let mut doubled = map(&[("x-request-id", "a")]);
        doubled.append(REQUEST_ID, HeaderValue::from_static("b"));
        request_id(&mut doubled, &ids, true);
        assert_eq!(values(&doubled, "x-request-id").len(), 1);
        assert_eq!(doubled[REQUEST_ID].len(), 32);
    }
}
