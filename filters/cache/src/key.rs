//! Under which keys responses are kept.

use tidegate_sdk::Fields;

/// The key of a target.
pub fn of_target(fields: &Fields) -> Vec<u8> {
    let part = |name: &str| fields.get(name).map(|value| value.to_vec()).unwrap_or_default();
    let (scheme, authority) = (part(":scheme"), part(":authority").to_ascii_lowercase());
    [&scheme, without_usual_port(&scheme, &authority), &part(":path")].join(&b' ')
}

/// The key of another target that a response names; only one of the same origin may be (RFC 9111, 4.4).
pub fn of_reference(fields: &Fields, reference: &[u8]) -> Option<Vec<u8>> {
    let part = |name: &str| fields.get_str(name).unwrap_or_default().to_owned();
    let (scheme, authority) = (part(":scheme"), part(":authority").to_ascii_lowercase());
    let reference = std::str::from_utf8(reference).ok()?.trim();
    let reference = reference.split('#').next()?;
    // A colon behind the first slash is part of the path or query.
    let path = match reference.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) {
        Some((other, rest)) => {
            let (host, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
            let usual = |host: &str| {
                without_usual_port(scheme.as_bytes(), host.to_ascii_lowercase().as_bytes()).to_vec()
            };
            if !other.eq_ignore_ascii_case(&scheme) || usual(host) != usual(&authority) {
                return None;
            }
            if path.is_empty() { "/" } else { path }
        }
        None if reference.starts_with('/') && !reference.starts_with("//") => reference,
        None => return None,
    };
    let authority = without_usual_port(scheme.as_bytes(), authority.as_bytes());
    Some([scheme.as_bytes(), authority, path.as_bytes()].join(&b' '))
}

/// With its scheme's own port or without, it is the same host (RFC 9110, 4.2.3).
fn without_usual_port<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = match scheme {
        b"http" => b":80",
        b"https" => b":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// The key of one of several responses of a target, which differ by these headers of the request.
pub fn of_variant(target: &[u8], generation: u64, names: &[String], fields: &Fields) -> Vec<u8> {
    let mut key = target.to_vec();
    key.extend_from_slice(b"\nvary ");
    key.extend_from_slice(&generation.to_le_bytes());
    for name in names {
        key.push(b'\n');
        let mut values = fields.get_all(name).peekable();
        // No header is not the same as an empty one.
        key.push(if values.peek().is_some() { b'=' } else { b'-' });
        for value in values {
            key.extend_from_slice(value.trim_ascii());
            key.push(0);
        }
    }
    key
}

/// The headers that a response differs by, sorted; `None` when it differs by anything, or by too many.
pub fn vary(headers: &Fields) -> Option<Vec<String>> {
    let lines = headers.get_all("vary").flat_map(|line| crate::control::split(line));
    let mut names: Vec<String> =
        lines.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    (names.len() <= MOST && !names.iter().any(|name| name == "*")).then_some(names)
}

/// The most headers that a response may differ by.
const MOST: usize = 16;
