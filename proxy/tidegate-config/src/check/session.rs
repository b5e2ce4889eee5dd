//! `session` of an upstream or of a rule.

use super::Check;
use crate::document::{SameSiteWord, SessionDocument, SessionLifetime};
use crate::node::Path;
use crate::plan::{SameSite, Session, SessionCarrier, SessionCookie, SessionKey};
use crate::problem::Fault;
use crate::types::{parse_changed_header, parse_header_name};

pub(super) fn session(check: &mut Check<'_>, path: &Path<'_>, written: &SessionDocument) -> Option<Session> {
    let time = |check: &mut Check<'_>, key: &str, time: Option<crate::types::Timeout>| {
        time.map(|time| check.positive(&path.key(key), Some(time), time.0))
    };
    let absolute_timeout = time(check, "absoluteTimeout", written.absolute_timeout);
    let idle_timeout = time(check, "idleTimeout", written.idle_timeout);
    if let (Some(idle), Some(absolute)) = (idle_timeout, absolute_timeout)
        && idle >= absolute
    {
        let fault = Fault::new(format!("a session ends {absolute:?} after it began, so this has no effect"));
        check.warn(&path.key("idleTimeout"), fault.hint("make it shorter than absoluteTimeout"));
    }
    let keys = keys(check, path, written);
    let carrier = match (&written.header, &written.cookie) {
        (Some(name), _) => {
            SessionCarrier::Header(check.take(&path.key("header"), parse_changed_header(name))?)
        }
        // Its shape was reported.
        (None, None) => return None,
        (None, Some(name)) => {
            let cookie = cookie(check, path, written, name)?;
            if cookie.permanent && absolute_timeout.is_none() {
                let fault = Fault::new("a permanent cookie needs a time after which it ends");
                check.fault(&path.key("lifetime"), fault.hint("absoluteTimeout: 24h"));
            }
            SessionCarrier::Cookie(cookie)
        }
    };
    Some(Session { carrier, absolute_timeout, idle_timeout, keys })
}

fn keys(check: &mut Check<'_>, path: &Path<'_>, written: &SessionDocument) -> Vec<SessionKey> {
    let long_enough = |check: &mut Check<'_>, path: &Path<'_>, key: &String| {
        if key.len() < 16 {
            let fault = Fault::new("the key is shorter than 16 bytes");
            check.fault(path, fault.hint("a random one of 32 bytes, by ${env:NAME} or ${file:path}"));
        }
    };
    if let Some(key) = &written.key {
        long_enough(check, &path.key("key"), key);
    }
    let several = written.keys.iter().flatten();
    for (index, key) in several.clone().enumerate() {
        let (list, before) = (path.key("keys"), several.clone().take(index));
        let path = list.index(index);
        long_enough(check, &path, key);
        if before.clone().any(|known| known == key) {
            check.fault(&path, Fault::new("the key is there before").hint("each once, the new one first"));
        }
    }
    let path = path.key("keys");
    match (&written.key, &written.keys) {
        (Some(_), Some(_)) => {
            let fault = Fault::new("\"key\" and \"keys\" exclude each other");
            check.fault(&path, fault.hint("keys: [NEW, OLD]"));
        }
        (None, Some(keys)) if keys.is_empty() || keys.len() > MOST_KEYS => {
            let fault = Fault::new(format!("there are {} keys", keys.len()));
            check.fault(&path, fault.hint(format!("1 to {MOST_KEYS}, the one that seals first")));
        }
        _ => {}
    }
    written.key.iter().chain(several).cloned().map(SessionKey).collect()
}

/// What a client brings is tried with each of them.
const MOST_KEYS: usize = 8;

fn cookie(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &SessionDocument,
    name: &str,
) -> Option<SessionCookie> {
    let below = written.path.as_deref().unwrap_or("/");
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
    if !below.starts_with('/') || !below.bytes().all(is_plain) {
        let fault = Fault::new(format!("{below:?} is not the path of a cookie"));
        check.fault(&path.key("path"), fault.hint("/ and plain text without ;, for instance /shop"));
    }
    if written.same_site == Some(SameSiteWord::None) && written.secure == Some(false) {
        let fault = Fault::new("clients take a cookie for all requests of other sites over TLS only");
        check.fault(&path.key("secure"), fault.hint("secure: true, or sameSite: lax"));
    }
    let for_host = name.starts_with("__Host-");
    if (for_host || name.starts_with("__Secure-")) && written.secure == Some(false) {
        let fault = Fault::new(format!("clients take {name:?} over TLS only"));
        check.fault(&path.key("secure"), fault.hint("secure: true, or another name"));
    }
    if for_host && below != "/" {
        let fault = Fault::new(format!("clients take {name:?} for the path / only"));
        check.fault(&path.key("path"), fault.hint("leave it out, or take another name"));
    }
    // The name of a cookie is a token, like that of a header, but case counts (RFC 6265, 4.1.1).
    let token = parse_header_name(name).map_err(|_| {
        Fault::new(format!("{name:?} is not a cookie's name")).hint("letters, digits and - without blanks")
    });
    check.take(&path.key("cookie"), token)?;
    Some(SessionCookie {
        name: name.to_owned(),
        permanent: written.lifetime == Some(SessionLifetime::Permanent),
        path: below.to_owned(),
        same_site: match written.same_site {
            Some(SameSiteWord::Strict) => SameSite::Strict,
            Some(SameSiteWord::None) => SameSite::None,
            Some(SameSiteWord::Lax) | None => SameSite::Lax,
        },
        secure: written.secure,
    })
}
