//! What a request wants of the server that it goes to: what it is known by, where a hash decides, and its session.

use http::header::COOKIE;
use http::request::Parts;
use tidegate_config::plan::HashOn;

use crate::exchange::Exchange;
use crate::upstream::balance::{Wish, key};
use crate::upstream::pool::Pool;

impl Exchange {
    /// The wish of a request that was at `tried` before.
    #[inline]
    pub(crate) fn wish<'a>(&self, pool: &Pool, head: &Parts, tried: &'a [usize]) -> Wish<'a> {
        let mut wish = Wish { server: self.record.server, ..Wish::other_than(tried) };
        if pool.asks() {
            if pool.cluster.spec.balance.is_by_key() {
                wish.key = self.hash_key(&pool.cluster.spec.balancing.hash, head);
            }
            wish.home = self.record.session.as_ref().and_then(|held| held.server());
        }
        wish
    }

    /// The key of the first thing that the request has; without any of them it goes anywhere.
    fn hash_key(&self, hash: &[HashOn], head: &Parts) -> Option<u64> {
        hash.iter().find_map(|on| match on {
            HashOn::Address => {
                let address = self.record.source().ip().to_canonical();
                Some(key::of_bytes(address.to_string().as_bytes()))
            }
            HashOn::Header(name) => head.headers.get(name).map(|value| key::of_bytes(value.as_bytes())),
            HashOn::Cookie(name) => cookie(head, name).map(key::of_bytes),
            HashOn::Query(name) => {
                head.uri.query().and_then(|query| parameter(query, name)).map(key::of_bytes)
            }
        })
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(head: &'a Parts, name: &str) -> Option<&'a [u8]> {
    let cookies =
        head.headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    cookies
        .map(<[u8]>::trim_ascii)
        .find_map(|cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The value of a query parameter, as it is written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    let value = |pair: &'a str| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value.as_bytes()),
        None => (pair == name).then_some(&b""[..]),
    };
    query.split('&').find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_parameters_are_found_by_their_whole_name() {
        let request = http::Request::builder().uri("/?xid=1&id=a%20b&id=c&flag");
        let request = request.header("cookie", "xsid=1; sid=one").header("cookie", "a=b;sid=two");
        let (head, ()) = request.body(()).expect("it is a request").into_parts();
        assert_eq!(cookie(&head, "sid"), Some(&b"one"[..]));
        assert_eq!(cookie(&head, "a"), Some(&b"b"[..]));
        assert_eq!(cookie(&head, "si"), None);
        let query = head.uri.query().expect("it has one");
        assert_eq!(parameter(query, "id"), Some(&b"a%20b"[..]));
        assert_eq!(parameter(query, "flag"), Some(&b""[..]));
        assert_eq!(parameter(query, "i"), None);
    }
}
