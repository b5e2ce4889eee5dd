//! Cookies: how they are named and written, how long values are cut into several, and how they are put together again.

use serde::Deserialize;

/// What the cookies of a login look like.
#[derive(Debug, Clone)]
pub(super) struct Jar {
    name: String,
    attributes: String,
    path: String,
}

/// Whether browsers send a cookie along when another site leads to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SameSite {
    /// With links, but not with forms and pictures.
    #[default]
    Lax,
    /// Never. The first page after a link from elsewhere then finds no session.
    Strict,
    /// Always; needs `secure`.
    None,
}

impl Jar {
    pub(super) fn new(
        name: &str,
        secure: bool,
        domain: Option<&str>,
        path: &str,
        same_site: SameSite,
    ) -> Self {
        let prefix = match (secure, domain, path) {
            (true, None, "/") => "__Host-",
            (true, ..) => "__Secure-",
            (false, ..) => "",
        };
        let site = match same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let mut attributes = format!("; HttpOnly; SameSite={site}");
        if secure {
            attributes.push_str("; Secure");
        }
        if let Some(domain) = domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        Jar { name: format!("{prefix}{name}"), attributes, path: path.to_owned() }
    }

    /// The name of the first cookie of a session.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the cookie that binds a login to the browser in which it began.
    pub(super) fn name_of_attempt(&self, state: &str) -> String {
        format!("{}{ATTEMPT}{}", self.name, state.get(..ATTEMPT_LETTERS).unwrap_or(state))
    }

    /// The names of all our cookies; `*` stands for the letters of a login.
    pub(super) fn cookies(&self) -> impl Iterator<Item = String> {
        (0..MOST).map(|at| self.piece(at)).chain([format!("{}{ATTEMPT}*", self.name)])
    }

    /// `set-cookie` for one cookie.
    pub(super) fn set(&self, name: &str, value: &str, seconds: u64) -> String {
        format!("{name}={value}; Path={}; Max-Age={seconds}{}", self.path, self.attributes)
    }

    /// `set-cookie` that takes a cookie away.
    pub(super) fn remove(&self, name: &str) -> String {
        self.set(name, "", 0)
    }

    /// `set-cookie` values for a session's value, cut where it is long, and for what is left of a longer one before it.
    pub(super) fn set_session(
        &self,
        value: &str,
        seconds: u64,
        presented: &Presented,
    ) -> Result<Vec<String>, TooLong> {
        let count = value.len().div_ceil(PIECE);
        if count > MOST {
            return Err(TooLong(value.len()));
        }
        let mut lines = Vec::with_capacity(count);
        let mut rest = value;
        for at in 0..count {
            // It is base64, so any place is the border of a letter.
            let (piece, more) = rest.split_at_checked(PIECE).unwrap_or((rest, ""));
            rest = more;
            let line = match at {
                0 if count > 1 => self.set(&self.name, &format!("{count}.{piece}"), seconds),
                0 => self.set(&self.name, piece, seconds),
                at => self.set(&format!("{}-{at}", self.name), piece, seconds),
            };
            lines.push(line);
        }
        lines.extend(
            presented.pieces.iter().filter(|at| **at >= count).map(|at| self.remove(&self.piece(*at))),
        );
        Ok(lines)
    }

    /// `set-cookie` values that take a session away.
    pub(super) fn remove_session(&self, presented: &Presented) -> Vec<String> {
        presented.pieces.iter().map(|at| self.remove(&self.piece(*at))).collect()
    }

    fn piece(&self, at: usize) -> String {
        if at == 0 { self.name.clone() } else { format!("{}-{at}", self.name) }
    }

    /// Finds what is ours in the `cookie` header.
    pub(super) fn read(&self, header: &[u8]) -> Presented {
        let mut presented = Presented::default();
        let mut pieces: [Option<&[u8]>; MOST] = [None; MOST];
        for pair in header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
        {
            let (name, value) = split(pair);
            let ours = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(self.name.as_str()));
            match ours {
                Some(rest) if rest.starts_with(ATTEMPT) => {
                    if let Ok(value) = std::str::from_utf8(value) {
                        presented.attempts.push((format!("{}{rest}", self.name), value.to_owned()));
                    }
                }
                Some(rest) => match number(rest).and_then(|at| Some((at, pieces.get_mut(at)?))) {
                    // Of two with one name, browsers send the one with the longer path first.
                    Some((_, Some(_))) => {}
                    Some((at, place)) => {
                        *place = Some(value);
                        presented.pieces.push(at);
                    }
                    None => {}
                },
                None => {}
            }
        }
        presented.session = joined(&pieces);
        presented
    }
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, b""),
    }
}

/// Which piece of a session's value the rest of a name stands for.
fn number(rest: &str) -> Option<usize> {
    match rest.as_bytes() {
        [] => Some(0),
        [b'-', digit @ b'1'..=b'9'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}

fn joined(pieces: &[Option<&[u8]>; MOST]) -> Option<Vec<u8>> {
    let (first, rest) = pieces.split_first()?;
    let first = (*first)?;
    let (count, piece) = match first {
        [count @ b'2'..=b'9', b'.', piece @ ..] => (usize::from(count - b'0'), piece),
        piece => (1, piece),
    };
    let mut value = piece.to_vec();
    for piece in rest.iter().take(count - 1) {
        value.extend_from_slice((*piece)?);
    }
    (count <= MOST).then_some(value)
}

/// What a request's cookies hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Presented {
    /// The value of the session's cookie, put together.
    pub(super) session: Option<Vec<u8>>,
    /// Which pieces of it there are.
    pieces: Vec<usize>,
    /// Logins that have begun: name and value of the cookie.
    pub(super) attempts: Vec<(String, String)>,
}

/// A session that does not fit into cookies, with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

/// Browsers take cookies of 4,096 bytes with name and attributes.
const PIECE: usize = 3700;

/// With more of them servers would refuse the request's head.
const MOST: usize = 5;

/// Between the name of the session's cookie and the letters of a login's state.
const ATTEMPT: &str = "-login-";
const ATTEMPT_LETTERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn jar() -> Jar {
        Jar::new("sid", true, None, "/", SameSite::Lax)
    }

    /// The `cookie` header that a browser makes of `set-cookie` values.
    fn sent_back(lines: &[String]) -> String {
        let pairs = lines.iter().filter(|line| !line.contains("Max-Age=0;"));
        pairs.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn names_have_the_strictest_prefix_that_holds() {
        let cases = [
            (true, None, "/", "__Host-sid"),
            (true, Some("example.com"), "/", "__Secure-sid"),
            (true, None, "/app", "__Secure-sid"),
            (false, None, "/", "sid"),
        ];
        for (secure, domain, path, name) in cases {
            assert_eq!(Jar::new("sid", secure, domain, path, SameSite::Lax).name(), name);
        }
        assert_eq!(
            jar().set("__Host-sid", "v", 60),
            "__Host-sid=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            Jar::new("sid", true, Some("a.b"), "/x", SameSite::None).set("n", "v", 1),
            "n=v; Path=/x; Max-Age=1; HttpOnly; SameSite=None; Secure; Domain=a.b"
        );
    }

    #[test]
    fn values_of_any_length_come_back_whole() {
        for length in [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, MOST * PIECE] {
            let value: String = ('a'..='z').cycle().take(length).collect();
            let lines = jar().set_session(&value, 60, &Presented::default()).expect("it fits");
            assert_eq!(lines.len(), length.div_ceil(PIECE));
            assert!(lines.iter().all(|line| line.len() <= 4096));
            let header = format!("a=1; {}; b=2", sent_back(&lines));
            let presented = jar().read(header.as_bytes());
            assert_eq!(presented.session.as_deref(), Some(value.as_bytes()), "{length}");
        }
        let value = "x".repeat(MOST * PIECE + 1);
        assert_eq!(jar().set_session(&value, 60, &Presented::default()), Err(TooLong(value.len())));
    }

    #[test]
    fn what_is_left_of_a_longer_session_is_taken_away() {
        let before = jar().read(b"__Host-sid=3.a; __Host-sid-1=b; __Host-sid-2=c");
        assert_eq!(before.session.as_deref(), Some(&b"abc"[..]));
        let lines = jar().set_session("short", 60, &before).expect("it fits");
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().any(|line| line.starts_with("__Host-sid-1=; Path=/; Max-Age=0;")), "{lines:?}");
        assert_eq!(sent_back(&lines), "__Host-sid=short");
        assert_eq!(jar().remove_session(&before).len(), 3);
    }

    #[test]
    fn odd_cookies_are_no_session() {
        let cases: [&[u8]; 8] = [
            b"",
            b"__Host-sid-1=b",
            b"__Host-sid=2.a",
            b"__Host-sid=9.a; __Host-sid-1=b; __Host-sid-2=c; __Host-sid-3=d; __Host-sid-4=e; __Host-sid-5=f",
            b"__Host-sidx=a",
            b"sid=a",
            b"\xff=\xfe; ;;; =; __Host-sid-0=a",
            b"__Host-sid-10=a",
        ];
        for header in cases {
            assert_eq!(jar().read(header).session, None, "{}", header.escape_ascii());
        }
        let twice = jar().read(b"__Host-sid=first; __Host-sid=second");
        assert_eq!(twice.session.as_deref(), Some(&b"first"[..]));
        assert_eq!(twice.pieces, [0]);
    }

    #[test]
    fn logins_that_began_are_found_by_their_state() {
        let name = jar().name_of_attempt("0123456789");
        assert_eq!(name, "__Host-sid-login-01234567");
        assert_eq!(jar().cookies().last().as_deref(), Some("__Host-sid-login-*"));
        let presented = jar().read(b"x=1; __Host-sid-login-01234567=v");
        assert_eq!(presented.attempts, [(name, "v".to_owned())]);
    }
}
