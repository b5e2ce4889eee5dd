//! The canonical path: the one form that rules are matched on and that is sent upstream.
//!
//! A path that is canonical already (nearly all are) costs one pass over its bytes and nothing else. What the form is:
//!
//! - percent-encoded unreserved characters are decoded, other triplets have upper-case digits, bytes that RFC 3986
//!   does not allow in a path are encoded;
//! - path parameters (`;x`) are cut off each segment. Some servers ignore them (`/admin;x/y` is `/admin/y` there), others
//!   take them as part of the name, so no rule could hold for both if they were passed on. A `;` that belongs to
//!   a name can be sent as `%3B`;
//! - empty segments vanish, `.` and `..` are resolved;
//! - refused: `%2F`, `%5C`, a backslash, control bytes, overlong UTF-8, triplets that are none, `..` above the root.

use std::borrow::Cow;

use thiserror::Error;

/// Why a path has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PathFault {
    /// Not a path at all.
    #[error("the path does not start with `/`")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("`%` is not followed by two hexadecimal digits (a plain `%` is written `%25`)")]
    Percent,
    /// `%2F` is a slash for some servers only.
    #[error("an encoded slash (`%2F`) cannot be told from a plain one by every server")]
    EncodedSlash,
    /// A backslash is a slash for some servers only.
    #[error("a backslash is a slash for some servers and none for others")]
    Backslash,
    /// A control byte, plain or encoded.
    #[error("control bytes cannot be part of a path")]
    Control,
    /// A two-byte form of an ASCII character.
    #[error("overlong UTF-8 hides a character")]
    Overlong,
    /// `..` with an encoded parameter: a dot segment for some servers only.
    #[error("a dot segment with an encoded parameter (`..%3B`) is one for some servers and none for others")]
    HiddenDots,
    /// More `..` than segments before it.
    #[error("`..` leads above the root")]
    AboveRoot,
    /// Longer than what a URI can hold.
    #[error("the path is too long")]
    TooLong,
}

/// Brings a path into its canonical form; borrowed when it had that already.
pub(crate) fn canonical(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if is_canonical(path.as_bytes()) { Ok(Cow::Borrowed(path)) } else { rewrite(path).map(Cow::Owned) }
}

/// What a byte of a path needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Percent,
    Parameter,
    Encode,
    Backslash,
    Refuse,
}

static CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Encode; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=0x20 | 0x7f | b'#' | b'?' => Class::Refuse,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b';' => Class::Parameter,
            b'\\' => Class::Backslash,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Class::Plain,
            // unreserved, sub-delims (without `;`) and the two more of `pchar`, RFC 3986 3.3
            b'-' | b'.' | b'_' | b'~' | b':' | b'@' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' => Class::Plain,
            _ => Class::Encode,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> Class {
    CLASS[usize::from(byte)]
}

/// Whether [`rewrite`] would change nothing. May say no to a path that is canonical, never yes to one that is not.
fn is_canonical(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += match class(byte) {
            Class::Plain => 1,
            Class::Slash if starts_plain_segment(&path[at + 1..]) => 1,
            Class::Percent if is_canonical_triplet(&path[at..]) => 3,
            _ => return false,
        };
    }
    true
}

/// Whether what follows a slash is neither a second slash nor possibly a dot segment.
fn starts_plain_segment(rest: &[u8]) -> bool {
    match rest {
        [b'/', ..] => false,
        [b'.', rest @ ..] => {
            let after = if let [b'.', rest @ ..] = rest { rest } else { rest };
            !matches!(after.first(), None | Some(b'/' | b';' | b'%'))
        }
        _ => true,
    }
}

/// Whether a triplet stays as it is. Lead bytes of overlong forms are left to [`rewrite`].
fn is_canonical_triplet(rest: &[u8]) -> bool {
    let Some(byte) = triplet(rest) else { return false };
    let lower = rest[1].is_ascii_lowercase() || rest[2].is_ascii_lowercase();
    !lower && !is_unreserved(byte) && !matches!(byte, b'/' | b'\\' | 0..=0x1f | 0x7f | 0xc0 | 0xc1)
}

/// The byte that `%XX` at the start of `rest` stands for.
fn triplet(rest: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *rest else { return None };
    Some(hex(high)? << 4 | hex(low)?)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn rewrite(path: &str) -> Result<String, PathFault> {
    let segments = path.strip_prefix('/').ok_or(PathFault::NotAbsolute)?;
    let mut out = String::with_capacity(path.len() + 16);
    let mut open = false;
    for segment in segments.split('/') {
        let start = out.len();
        out.push('/');
        append_segment(&mut out, segment.as_bytes())?;
        // `open`: the path ends with a slash if this is the last segment.
        open = true;
        match &out[start + 1..] {
            "" | "." => out.truncate(start),
            ".." => {
                let parent = out[..start].rfind('/').ok_or(PathFault::AboveRoot)?;
                out.truncate(parent);
            }
            dots if dots.starts_with(".%3B") || dots.starts_with("..%3B") => {
                return Err(PathFault::HiddenDots);
            }
            _ => open = false,
        }
    }
    if open {
        out.push('/');
    }
    if out.len() > usize::from(u16::MAX) - 1 { Err(PathFault::TooLong) } else { Ok(out) }
}

/// Appends a segment without its parameters, decoded or encoded where that is canonical.
fn append_segment(out: &mut String, segment: &[u8]) -> Result<(), PathFault> {
    let mut at = 0;
    let mut parameters = false;
    while let Some(&byte) = segment.get(at) {
        // Parameters are read to their end: what is refused in a name is refused in them too.
        let keep = !parameters;
        match class(byte) {
            Class::Plain if keep => out.push(char::from(byte)),
            Class::Encode if keep => push_triplet(out, byte),
            Class::Plain | Class::Encode | Class::Slash => {}
            Class::Parameter => parameters = true,
            Class::Backslash => return Err(PathFault::Backslash),
            Class::Refuse => return Err(PathFault::Control),
            Class::Percent => {
                let decoded = check_triplet(&segment[at..])?;
                if keep && is_unreserved(decoded) {
                    out.push(char::from(decoded));
                } else if keep {
                    push_triplet(out, decoded);
                }
                at += 2;
            }
        }
        at += 1;
    }
    Ok(())
}

fn check_triplet(rest: &[u8]) -> Result<u8, PathFault> {
    let byte = triplet(rest).ok_or(PathFault::Percent)?;
    match byte {
        b'/' => Err(PathFault::EncodedSlash),
        b'\\' => Err(PathFault::Backslash),
        0..=0x1f | 0x7f => Err(PathFault::Control),
        0xc0 | 0xc1 if triplet(&rest[3..]).is_some_and(|next| next & 0xc0 == 0x80) => {
            Err(PathFault::Overlong)
        }
        _ => Ok(byte),
    }
}

fn push_triplet(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths_are_not_copied() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d-e_f~g",
            "/.well-known/x",
            "/..a/...",
            "/a%20b/%C3%A9",
            "/a/@me:1",
            "/a=b,c+d!$&'()*",
            "/%3B",
            "/%25",
        ] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn paths_are_rewritten() {
        for (path, expected) in [
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a//", "/a/"),
            ("/%61/%7Eb", "/a/~b"),
            ("/a%2db", "/a-b"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a|b[c]{d}\"^`<>", "/a%7Cb%5Bc%5D%7Bd%7D%22%5E%60%3C%3E"),
            ("/.", "/"),
            ("/./a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/../b", "/b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/../../c", "/c"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/.%2E/b", "/b"),
            ("/a/..;/b", "/b"),
            ("/a/..;x=1/b", "/b"),
            ("/a/%2e%2e;/admin/x", "/admin/x"),
            ("/a/.;/b", "/a/b"),
            ("/admin;x/y", "/admin/y"),
            ("/;x/admin/x", "/admin/x"),
            ("/a;jsessionid=1", "/a"),
            ("/a;b;c=%41/d", "/a/d"),
            ("/a/;", "/a/"),
            ("/a//../b", "/b"),
            ("/a%3bb", "/a%3Bb"),
            ("/.a", "/.a"),
            ("/..%41", "/..A"),
            ("/%C0x", "/%C0x"),
            ("/%252e%252e/", "/%252e%252e/"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point() {
        for path in ["/a;b/%2e%2e/é//c%7c/.", "/%c3%A9;/x", "/..%41/b", "/%C0x"] {
            let once = canonical(path).expect("has a canonical form").into_owned();
            assert_eq!(canonical(&once).as_deref(), Ok(once.as_str()), "{path}");
        }
    }

    #[test]
    fn paths_are_refused() {
        for (path, fault) in [
            ("", PathFault::NotAbsolute),
            ("a", PathFault::NotAbsolute),
            ("/%", PathFault::Percent),
            ("/%4", PathFault::Percent),
            ("/%zz", PathFault::Percent),
            ("/a;%zz", PathFault::Percent),
            ("/a%2fb", PathFault::EncodedSlash),
            ("/a%2Fb", PathFault::EncodedSlash),
            ("/a;%2fb", PathFault::EncodedSlash),
            ("/a\\b", PathFault::Backslash),
            ("/a/..\\b", PathFault::Backslash),
            ("/a%5cb", PathFault::Backslash),
            ("/a%5C..%5Cb", PathFault::Backslash),
            ("/%00", PathFault::Control),
            ("/a%0d%0ab", PathFault::Control),
            ("/%7f", PathFault::Control),
            ("/\u{1}", PathFault::Control),
            ("/a b", PathFault::Control),
            ("/a#b", PathFault::Control),
            ("/%c0%ae%c0%ae/", PathFault::Overlong),
            ("/%C0%AF", PathFault::Overlong),
            ("/%c1%9c", PathFault::Overlong),
            ("/a/..%3b/b", PathFault::HiddenDots),
            ("/a/%2e%2e%3Bx/b", PathFault::HiddenDots),
            ("/..", PathFault::AboveRoot),
            ("/../", PathFault::AboveRoot),
            ("/a/../../b", PathFault::AboveRoot),
            ("/..;/b", PathFault::AboveRoot),
            ("/%2e%2e/b", PathFault::AboveRoot),
            ("/./../b", PathFault::AboveRoot),
        ] {
            assert_eq!(canonical(path), Err(fault), "{path}");
        }
        let long = format!("/{}", "|".repeat(40_000));
        assert_eq!(canonical(&long), Err(PathFault::TooLong));
    }
}
