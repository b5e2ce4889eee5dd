//! A service in Consul's catalog, followed by blocking queries.
//!
//! The index rules are those of Consul's documentation ("Blocking queries"): an index that goes backwards or is not
//! positive is forgotten, and so is one after an error; queries are spaced out.

mod answer;

use std::fmt::Write as _;
use std::time::Duration;

use http::{StatusCode, Uri};
use tidegate_config::plan::ConsulSource;

use super::http::{SHORTEST_PAUSE, fields};
use super::source::{Found, Told, Turn};
use crate::fetch::client::{Call, Client, told};

/// The service of one upstream.
pub(super) struct Catalog {
    client: Client,
    spec: ConsulSource,
    index: Index,
    last: Option<Vec<Found>>,
}

impl Catalog {
    /// Nothing is asked yet.
    pub(super) fn new(spec: &ConsulSource) -> Result<Self, String> {
        let client = Client::new(spec.ca.as_deref())?;
        Ok(Self { client, spec: spec.clone(), index: Index::default(), last: None })
    }

    /// Asks once; Consul holds the answer until something changes.
    pub(super) async fn ask(&mut self) -> Result<Turn, String> {
        let outcome = self.try_ask().await;
        if outcome.is_err() {
            self.index = Index::default();
        }
        outcome
    }

    async fn try_ask(&mut self) -> Result<Turn, String> {
        let url: Uri = url(&self.spec, self.index.known).parse().map_err(|_| "not a URL".to_owned())?;
        let call = Call { headers: fields(&self.spec.headers)?, ..Call::get(&url, LARGEST_ANSWER) };
        // Consul waits for up to a sixteenth longer, by chance.
        let most = self.spec.wait + self.spec.wait / 16 + SLACK;
        let answer = tokio::time::timeout(most, self.client.send(call)).await;
        let answer = answer.map_err(|_| format!("{}: no answer within {most:?}", told(&url)))??;
        if answer.status != StatusCode::OK {
            let said = String::from_utf8_lossy(&answer.body).trim().chars().take(200).collect::<String>();
            return Err(format!("{}: it answered {}: {said:?}", told(&url), answer.status));
        }
        let servers = match self.spec.passing {
            true => answer::healthy(&answer.body),
            false => answer::registered(&answer.body),
        };
        let servers = servers.map_err(|why| format!("{}: {why}", told(&url)))?;
        let index = answer.headers.get(INDEX).and_then(|index| index.to_str().ok()?.trim().parse().ok());
        let pause = self.index.on_answer(index);
        // Consul answers when anything of the service has changed, a check's output for instance.
        let told = match self.last.as_ref() == Some(&servers) {
            true => Told::Same,
            false => Told::Servers(servers.clone()),
        };
        self.last = Some(servers);
        Ok(Turn { told, pause })
    }
}

/// How far Consul's answers have come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    known: Option<u64>,
}

impl Index {
    /// How long to wait before the next query.
    fn on_answer(&mut self, index: Option<u64>) -> Duration {
        self.known = match (self.known, index.filter(|index| *index > 0)) {
            (Some(before), Some(now)) if now < before => None,
            (_, now) => now,
        };
        // Without an index the next query is answered at once.
        if self.known.is_some() { SHORTEST_PAUSE } else { WITHOUT_INDEX }
    }
}

/// The query as it is sent.
fn url(spec: &ConsulSource, index: Option<u64>) -> String {
    let service = escaped(&spec.service);
    let mut url = match spec.passing {
        true => format!("{}/v1/health/service/{service}?passing=1", spec.address),
        false => format!("{}/v1/catalog/service/{service}?", spec.address),
    };
    // Writing to a string cannot fail.
    if let Some(datacenter) = &spec.datacenter {
        _ = write!(url, "&dc={}", escaped(datacenter));
    }
    for tag in &spec.tags {
        _ = write!(url, "&tag={}", escaped(tag));
    }
    if let Some(index) = index {
        _ = write!(url, "&index={index}&wait={}s", spec.wait.as_secs().max(1));
    }
    url.replace("?&", "?").trim_end_matches('?').to_owned()
}

/// A piece of a path or of a query (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

const INDEX: &str = "x-consul-index";

/// What an answer may take beyond the wait.
const SLACK: Duration = Duration::from_secs(10);

/// Between queries that are answered at once.
const WITHOUT_INDEX: Duration = Duration::from_secs(1);

/// Largest answer.
const LARGEST_ANSWER: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::plan::SecretFields;

    fn spec() -> ConsulSource {
        ConsulSource {
            address: "http://127.0.0.1:8500".to_owned(),
            service: "orders api".to_owned(),
            datacenter: None,
            tags: Vec::new(),
            passing: true,
            headers: SecretFields::default(),
            wait: Duration::from_secs(300),
            ca: None,
        }
    }

    #[test]
    fn queries_have_what_is_asked_for() {
        let base = "http://127.0.0.1:8500/v1";
        assert_eq!(url(&spec(), None), format!("{base}/health/service/orders%20api?passing=1"));
        let all = ConsulSource { passing: false, ..spec() };
        assert_eq!(url(&all, None), format!("{base}/catalog/service/orders%20api"));
        let all = ConsulSource {
            datacenter: Some("dc1".to_owned()),
            tags: vec!["v2".to_owned(), "a=b".to_owned()],
            ..all
        };
        let query = "dc=dc1&tag=v2&tag=a%3Db&index=7&wait=300s";
        assert_eq!(url(&all, Some(7)), format!("{base}/catalog/service/orders%20api?{query}"));
    }

    #[test]
    fn an_index_that_goes_backwards_or_is_not_positive_is_forgotten() {
        let mut index = Index::default();
        let mut known = Vec::new();
        for answer in [Some(5), Some(9), Some(9), Some(4), Some(6), Some(0), Some(3), None] {
            let pause = index.on_answer(answer);
            assert_eq!(pause == SHORTEST_PAUSE, index.known.is_some());
            known.push(index.known);
        }
        assert_eq!(known, [Some(5), Some(9), Some(9), None, Some(6), None, Some(3), None]);
    }
}
