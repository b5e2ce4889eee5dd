//! URLs of servers that the gateway itself asks.

use super::parse_server;
use crate::problem::Fault;

/// An `http://` or `https://` URL as requests are made of: a host, visible ASCII, no user, no fragment.
pub(crate) fn check_url(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| {
        Fault::new(format!("{text:?} is not a URL that can be asked: {why}"))
            .hint("for instance https://registry.example.com/orders")
    };
    let (rest, port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, 443),
        (_, Some(rest)) => (rest, 80),
        _ => return Err(fault("it does not begin with http:// or https://")),
    };
    if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '\\' | '"')) {
        return Err(fault(&format!("it has the character {other:?}")));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(fault("it has a user's name"));
    }
    let after = authority.rsplit_once(':').map(|(_, port)| port);
    let has_port = after.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let whole = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    parse_server(&whole).map(drop).map_err(|_| fault("it has no valid host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_others() {
        for text in ["http://a", "https://a.test:8443/b?c=d", "http://127.0.0.1:8500", "http://[::1]:1/"] {
            assert_eq!(check_url(text), Ok(()), "{text}");
        }
        for text in ["", "a", "ftp://a", "http://", "http://a b", "http://u@a/", "http://a#b", "http://a:x/"]
        {
            assert!(check_url(text).is_err(), "{text}");
        }
    }
}
