//! Sessions: a client stays at the server that it had first. The gateway keeps nothing for that: what the client brings
//! back names the server, sealed by a key, so that nobody else reads or makes it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};
use tidegate_config::plan::{self, SessionCarrier, SessionCookie};

use crate::upstream::balance::key;

/// The key of gateways whose document has none.
pub(crate) type OwnKey = [u8; 32];

/// The settings of sessions, ready for use.
pub(crate) struct Session {
    spec: plan::Session,
    /// Of the field that answers get.
    field: HeaderName,
    /// The first one seals, all open.
    keys: Vec<LessSafeKey>,
}

/// What a client brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// [`upstream_of`] the upstream.
    pub(crate) upstream: u32,
    /// The key of the server.
    pub(crate) server: u64,
    /// When the session began and when it was last seen, in milliseconds since 1970.
    pub(crate) began: u64,
    pub(crate) seen: u64,
}

/// What a client brings back that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) ticket: Ticket,
    /// It was sealed with a key that seals no longer.
    pub(crate) is_old: bool,
}

/// Why what a client brings back does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is none of ours, or broken.
    Forged,
    /// Its time is over.
    Ended,
}

/// How a session went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Began,
    Kept,
    Moved,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Session {
    /// With the key that is written down, or the gateway's own.
    ///
    /// # Errors
    /// When the field's name is none, which the plan's check refuses.
    pub(crate) fn build(spec: &plan::Session, own: &OwnKey) -> Result<Self, String> {
        let written = |key: &plan::SessionKey| -> OwnKey {
            Sha256::new().chain_update(PURPOSE).chain_update(&key.0).finalize().into()
        };
        let mut keys: Vec<OwnKey> = spec.keys.iter().map(written).collect();
        if keys.is_empty() {
            keys.push(*own);
        }
        let key = |key: &OwnKey| UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new);
        let keys = keys.iter().map(key).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let field = match &spec.carrier {
            SessionCarrier::Cookie(_) => header::SET_COOKIE,
            SessionCarrier::Header(name) => HeaderName::try_from(name).map_err(|error| error.to_string())?,
        };
        Ok(Self { spec: spec.clone(), field, keys })
    }

    /// What carries it.
    pub(crate) fn carrier(&self) -> &SessionCarrier {
        &self.spec.carrier
    }

    /// The field that answers get.
    pub(crate) fn field(&self) -> &HeaderName {
        &self.field
    }

    /// Reads what a client brings back, at this time since 1970.
    pub(crate) fn open(&self, text: &[u8], now: Duration) -> Result<Opened, Refusal> {
        let mut sealed = [0; SEALED];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut sealed);
        if text.len() != TEXT || read != Ok(SEALED) {
            return Err(Refusal::Forged);
        }
        let opened = |(place, key)| Some((place, self.open_with(key, sealed)?));
        let (place, ticket) = self.keys.iter().enumerate().find_map(opened).ok_or(Refusal::Forged)?;
        let over = |since: u64, limit: Option<Duration>| limit.is_some_and(|limit| age(since, now) >= limit);
        match over(ticket.began, self.spec.absolute_timeout) || over(ticket.seen, self.spec.idle_timeout) {
            true => Err(Refusal::Ended),
            false => Ok(Opened { ticket, is_old: place > 0 }),
        }
    }

    fn open_with(&self, key: &LessSafeKey, mut sealed: [u8; SEALED]) -> Option<Ticket> {
        let (nonce, sealed) = sealed.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Ticket::read(key.open_in_place(nonce, self.purpose(), sealed).ok()?)
    }

    /// Whether a client is to be told again when it was seen, lest its session ends while it is used.
    pub(crate) fn is_stale(&self, ticket: &Ticket, now: Duration) -> bool {
        self.spec.idle_timeout.is_some_and(|limit| age(ticket.seen, now) >= limit / STEPS)
    }

    /// The value of the field that an answer gets. `secure`: the client's connection is; `nonce`: any numbers.
    pub(crate) fn value(&self, ticket: &Ticket, secure: bool, nonce: [u64; 2]) -> Option<HeaderValue> {
        let sealed = self.seal(ticket, nonce)?;
        let text = match &self.spec.carrier {
            SessionCarrier::Header(_) => sealed,
            SessionCarrier::Cookie(cookie) => self.cookie(cookie, &sealed, ticket, secure),
        };
        HeaderValue::try_from(text).ok()
    }

    fn seal(&self, ticket: &Ticket, [high, low]: [u64; 2]) -> Option<String> {
        let mut bytes = [0; NONCE_LEN];
        for (to, from) in bytes.iter_mut().zip(high.to_be_bytes().into_iter().chain(low.to_be_bytes())) {
            *to = from;
        }
        let mut plain = ticket.bytes();
        // A number that was there before tells that two tickets are equal, and nothing else (RFC 8452).
        let nonce = Nonce::assume_unique_for_key(bytes);
        let tag = self.keys.first()?.seal_in_place_separate_tag(nonce, self.purpose(), &mut plain).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&bytes, &plain[..], tag.as_ref()].concat()))
    }

    fn cookie(&self, cookie: &SessionCookie, sealed: &str, ticket: &Ticket, secure: bool) -> String {
        let mut text = format!(
            "{}={sealed}; Path={}; HttpOnly; SameSite={}",
            cookie.name,
            cookie.path,
            cookie.same_site.word()
        );
        if cookie.secure.unwrap_or(secure) {
            text.push_str("; Secure");
        }
        if let (true, Some(limit)) = (cookie.permanent, self.spec.absolute_timeout) {
            let left = limit.saturating_sub(age(ticket.began, Duration::from_millis(ticket.seen))).as_secs();
            // Writing to a string cannot fail.
            _ = write!(text, "; Max-Age={left}");
        }
        text
    }

    /// What is sealed for one cookie is nothing in another one.
    fn purpose(&self) -> Aad<&[u8]> {
        Aad::from(match &self.spec.carrier {
            SessionCarrier::Cookie(cookie) => cookie.name.as_bytes(),
            SessionCarrier::Header(name) => name.as_bytes(),
        })
    }
}

impl Ticket {
    fn bytes(&self) -> [u8; PLAIN] {
        let mut bytes = [0; PLAIN];
        let parts = self.upstream.to_be_bytes().into_iter().chain(self.server.to_be_bytes());
        // Six bytes of milliseconds last for 8,900 years.
        let times =
            [self.began, self.seen].into_iter().flat_map(|time| time.to_be_bytes().into_iter().skip(2));
        bytes.iter_mut().zip(parts.chain(times)).for_each(|(to, from)| *to = from);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (upstream, rest) = bytes.split_first_chunk::<4>()?;
        let (server, rest) = rest.split_first_chunk::<8>()?;
        let (began, rest) = rest.split_first_chunk::<6>()?;
        let (seen, []) = rest.split_first_chunk::<6>()? else { return None };
        let time = |bytes: &[u8; 6]| bytes.iter().fold(0, |time, byte| time << 8 | u64::from(*byte));
        Some(Self {
            upstream: u32::from_be_bytes(*upstream),
            server: u64::from_be_bytes(*server),
            began: time(began),
            seen: time(seen),
        })
    }
}

/// What an upstream is called in tickets.
pub(crate) fn upstream_of(name: &str) -> u32 {
    key::of_bytes(name.as_bytes()) as u32
}

/// Keys that are written down are for this alone.
const PURPOSE: &[u8] = b"tidegate session\0";

/// How old what is told in milliseconds is; a gateway whose clock is ahead may have said it.
fn age(since: u64, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_millis(since))
}

/// How often within its idle time a session is told that it was seen.
const STEPS: u32 = 20;

/// A ticket's bytes, the same sealed, and as text.
const PLAIN: usize = 4 + 8 + 6 + 6;
const SEALED: usize = NONCE_LEN + PLAIN + 16;
const TEXT: usize = (SEALED * 4).div_ceil(3);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::plan::{SameSite, SessionKey};

    const TICKET: Ticket =
        Ticket { upstream: 7, server: 0xfedc_ba98_7654_3210, began: 1_000_000, seen: 1_010_000 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn spec(name: &str) -> plan::Session {
        plan::Session {
            carrier: SessionCarrier::Cookie(SessionCookie {
                name: name.to_owned(),
                permanent: false,
                path: "/".to_owned(),
                same_site: SameSite::Lax,
                secure: None,
            }),
            absolute_timeout: Some(Duration::from_secs(100)),
            idle_timeout: Some(Duration::from_secs(40)),
            keys: Vec::new(),
        }
    }

    fn session(spec: &plan::Session) -> Session {
        Session::build(spec, &[7; 32]).expect("the name is one")
    }

    fn sealed(session: &Session, ticket: &Ticket) -> String {
        session.seal(ticket, [1, 2]).expect("it is short")
    }

    #[test]
    fn what_was_sealed_is_opened_by_whoever_has_the_key() {
        let own = session(&spec("s"));
        let text = sealed(&own, &TICKET);
        assert_eq!(text.len(), TEXT);
        let opened = Opened { ticket: TICKET, is_old: false };
        assert_eq!(session(&spec("s")).open(text.as_bytes(), at(1_020)), Ok(opened));
        let written =
            |key: &str| session(&plan::Session { keys: vec![SessionKey(key.to_owned())], ..spec("s") });
        for other in [session(&spec("t")), written("0123456789abcdef")] {
            assert_eq!(other.open(text.as_bytes(), at(1_020)), Err(Refusal::Forged));
        }
        let text = sealed(&written("0123456789abcdef"), &TICKET);
        let other_own = Session::build(
            &plan::Session { keys: vec![SessionKey("0123456789abcdef".to_owned())], ..spec("s") },
            &[8; 32],
        );
        let known = other_own.expect("the name is one").open(text.as_bytes(), at(1_020));
        assert_eq!(known, Ok(opened), "a written key is the same in every gateway");
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let with = |keys: &[&str]| {
            let keys = keys.iter().map(|key| SessionKey((*key).to_owned())).collect();
            session(&plan::Session { keys, ..spec("s") })
        };
        let (before, both, after) = (with(&["old"]), with(&["new", "old"]), with(&["new"]));
        let (old, new) = (sealed(&before, &TICKET), sealed(&both, &TICKET));
        let open = |session: &Session, text: &str| session.open(text.as_bytes(), at(1_020));
        assert_eq!(open(&both, &old), Ok(Opened { ticket: TICKET, is_old: true }));
        assert_eq!(open(&both, &new), Ok(Opened { ticket: TICKET, is_old: false }));
        assert_eq!(open(&after, &new), Ok(Opened { ticket: TICKET, is_old: false }));
        assert_eq!((open(&after, &old), open(&before, &new)), (Err(Refusal::Forged), Err(Refusal::Forged)));
    }

    #[test]
    fn whatever_was_changed_is_forged() {
        let own = session(&spec("s"));
        let good = sealed(&own, &TICKET);
        for place in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[place] = if bad[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(own.open(&bad, at(1_020)), Err(Refusal::Forged), "{place}");
        }
        for bad in ["", "x", &good[1..], &format!("{good}A"), &"=".repeat(TEXT), &"\u{e9}".repeat(TEXT / 2)] {
            assert_eq!(own.open(bad.as_bytes(), at(1_020)), Err(Refusal::Forged), "{bad}");
        }
    }

    #[test]
    fn a_session_ends_when_its_times_are_over() {
        let own = session(&spec("s"));
        let open = |began: u64, seen: u64, now: u64| {
            let ticket = Ticket { began: began * 1_000, seen: seen * 1_000, ..TICKET };
            own.open(sealed(&own, &ticket).as_bytes(), at(now)).map(|_| ())
        };
        assert_eq!(open(1_000, 1_060, 1_099), Ok(()));
        assert_eq!(open(1_000, 1_090, 1_100), Err(Refusal::Ended));
        assert_eq!(open(1_000, 1_010, 1_049), Ok(()));
        assert_eq!(open(1_000, 1_010, 1_050), Err(Refusal::Ended));
        // A gateway whose clock is ahead has sealed it.
        assert_eq!(open(2_000, 2_000, 1_000), Ok(()));
        assert!(!own.is_stale(&TICKET, at(1_011)) && own.is_stale(&TICKET, at(1_012)));
    }

    #[test]
    fn cookies_have_what_their_connection_and_their_settings_ask_for() {
        let value = |spec: &plan::Session, secure| {
            let value = session(spec).value(&TICKET, secure, [1, 2]).expect("it is text");
            let text = value.to_str().expect("ASCII").to_owned();
            let (pair, attributes) = text.split_once("; ").expect("attributes");
            assert_eq!(pair.len(), 2 + TEXT);
            attributes.to_owned()
        };
        assert_eq!(value(&spec("s"), false), "Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(value(&spec("s"), true), "Path=/; HttpOnly; SameSite=Lax; Secure");
        let SessionCarrier::Cookie(cookie) = spec("s").carrier else { unreachable!() };
        let cookie = SessionCookie {
            permanent: true,
            path: "/shop".to_owned(),
            same_site: SameSite::None,
            secure: Some(true),
            ..cookie
        };
        let permanent = plan::Session { carrier: SessionCarrier::Cookie(cookie), ..spec("s") };
        assert_eq!(value(&permanent, false), "Path=/shop; HttpOnly; SameSite=None; Secure; Max-Age=90");
    }
}
