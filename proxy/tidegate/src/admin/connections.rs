//! `/connections`: clients' connections by listener, and those that have been there for longest, or the newest ones.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};
use tidegate_config::guess;
use tidegate_proxy::ConnectionsWanted;

use super::Shown;
use super::answer::AdminError;

/// Where no other number is asked for.
const LIMIT: usize = 100;

/// At most.
const MOST: usize = 10_000;

const NAMES: [&str; 3] = ["limit", "order", "listener"];

/// What the query asks for.
pub(super) async fn connections(head: &Parts, shown: &Shown) -> Result<Value, AdminError> {
    let stats = shown.gateway.stats(&Default::default());
    let listeners = stats.listeners.iter().map(|listener| listener.name.as_str());
    let wanted = wanted(head.uri.query().unwrap_or_default(), listeners)
        .map_err(|why| AdminError::new(StatusCode::BAD_REQUEST, why))?;
    let list = shown.gateway.connections(&wanted).await;
    Ok(json!({ "connections": stats.connections, "listeners": stats.listeners, "list": list }))
}

fn wanted<'a>(
    query: &str,
    mut listeners: impl Iterator<Item = &'a str>,
) -> Result<ConnectionsWanted, String> {
    let mut wanted = ConnectionsWanted { limit: LIMIT, ..ConnectionsWanted::default() };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(format!("{name}: once is enough"));
        }
        seen.push(name);
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit <= MOST);
                wanted.limit = limit.ok_or_else(|| format!("limit={value}: 0 to {MOST}, such as {LIMIT}"))?;
            }
            "order" => {
                wanted.oldest = match value {
                    "oldest" => true,
                    "newest" => false,
                    _ => return Err(format!("order={value}: newest or oldest")),
                };
            }
            "listener" => {
                let known = listeners.by_ref().any(|known| known == value);
                wanted.listener = Some(value.to_owned());
                known.then_some(()).ok_or_else(|| format!("listener={value}: there is no such listener"))?;
            }
            _ => {
                let hint = match guess(name, NAMES) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("there are {}", NAMES.join(", ")),
                };
                return Err(format!("{name}: no such parameter; {hint}"));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_many_and_which() {
        let parse = |query: &str| wanted(query, ["web", "tls"].into_iter());
        assert_eq!(
            parse("order=oldest&limit=5&listener=tls"),
            Ok(ConnectionsWanted { limit: 5, oldest: true, listener: Some("tls".to_owned()) })
        );
        assert_eq!(parse("").map(|wanted| (wanted.limit, wanted.oldest)), Ok((100, false)));
        for (wrong, part) in [
            ("limit=10001", "0 to 10000"),
            ("limit=-1", "limit=-1"),
            ("order=big", "newest or oldest"),
            ("listener=wob", "no such listener"),
            ("limt=1", "did you mean limit?"),
            ("limit=1&limit=2", "once"),
        ] {
            assert!(parse(wrong).is_err_and(|why| why.contains(part)), "{wrong}");
        }
    }
}
