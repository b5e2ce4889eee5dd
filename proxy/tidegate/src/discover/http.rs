//! A web server that answers with a list of servers, asked so that it may hold its answer until something changes.
//!
//! Two ways of holding are understood: by `ETag` (`If-None-Match` with `Prefer: wait=N` of RFC 7240), and by an index
//! (`x-index` in the answer, `index` and `wait` in the next question's query).

use std::time::{Duration, Instant};

use http::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode, Uri};
use tidegate_config::plan::{HttpSource, SecretFields};

use super::file::{LARGEST_LIST, list};
use super::source::{Told, Turn};
use crate::fetch::client::{Call, Client, told};

/// The server of one upstream.
pub(super) struct Endpoint {
    client: Client,
    spec: HttpSource,
    cursor: Cursor,
    /// The body of the list that holds.
    last: Option<bytes::Bytes>,
}

impl Endpoint {
    /// Nothing is asked yet.
    pub(super) fn new(spec: &HttpSource) -> Result<Self, String> {
        let client = Client::new(spec.ca.as_deref())?;
        Ok(Self { client, spec: spec.clone(), cursor: Cursor::default(), last: None })
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<Turn, String> {
        let outcome = self.try_ask().await;
        if outcome.is_err() {
            // A server that lost its memory must not be asked for what comes after it.
            self.cursor = Cursor::default();
        }
        outcome
    }

    async fn try_ask(&mut self) -> Result<Turn, String> {
        let spec = &self.spec;
        let url: Uri = self.cursor.url(&spec.url, spec.wait).parse().map_err(|_| "not a URL".to_owned())?;
        let mut headers = fields(&spec.headers)?;
        self.cursor.ask(&mut headers, spec.wait);
        let call = Call { headers, ..Call::get(&url, usize::try_from(LARGEST_LIST).unwrap_or(usize::MAX)) };
        let begun = Instant::now();
        let answer = tokio::time::timeout(spec.wait + SLACK, self.client.send(call)).await;
        let answer =
            answer.map_err(|_| format!("{}: no answer within {:?}", told(&url), spec.wait + SLACK))??;
        let took = begun.elapsed();
        let same = match answer.status {
            StatusCode::NOT_MODIFIED if self.last.is_some() => true,
            StatusCode::OK => self.last.as_ref() == Some(&answer.body),
            status => return Err(format!("{}: it answered {status}, not 200", told(&url))),
        };
        let pause = pause(same, took, spec);
        if same {
            self.cursor.on_answer(&answer.headers);
            return Ok(Turn { told: Told::Same, pause });
        }
        let text = String::from_utf8(answer.body.to_vec());
        let text = text.map_err(|_| format!("{}: the answer is not UTF-8 text", told(&url)))?;
        let servers = list(&told(&url), text)?;
        self.cursor.on_answer(&answer.headers);
        self.last = Some(answer.body);
        Ok(Turn { told: Told::Servers(servers), pause })
    }
}

/// How long the server is left alone. One that said the same without holding its answer is asked at intervals.
fn pause(same: bool, took: Duration, spec: &HttpSource) -> Duration {
    match same && took < spec.wait / 2 {
        true => spec.interval.saturating_sub(took),
        false => SHORTEST_PAUSE,
    }
}

/// Header fields of a document.
pub(super) fn fields(written: &SecretFields) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &written.0 {
        let wrong = || format!("the header {name} cannot have its value");
        let field = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        headers.append(field, HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// What the server said last, for it to tell news from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cursor {
    etag: Option<HeaderValue>,
    index: Option<u64>,
}

impl Cursor {
    fn on_answer(&mut self, headers: &HeaderMap) {
        if let Some(etag) = headers.get(ETAG) {
            self.etag = Some(etag.clone());
        }
        let index = headers.get(INDEX).and_then(|index| index.to_str().ok()?.trim().parse().ok());
        // An index that goes backwards is one of a server that began anew.
        self.index = match (self.index, index) {
            (Some(before), Some(now)) if now < before => None,
            (_, now) => now.filter(|now| *now > 0),
        };
    }

    fn url(&self, url: &str, wait: Duration) -> String {
        match self.index {
            Some(index) => {
                let sign = if url.contains('?') { '&' } else { '?' };
                format!("{url}{sign}index={index}&wait={}s", wait.as_secs().max(1))
            }
            None => url.to_owned(),
        }
    }

    fn ask(&self, headers: &mut HeaderMap, wait: Duration) {
        let Some(etag) = &self.etag else { return };
        headers.insert(IF_NONE_MATCH, etag.clone());
        if let Ok(prefer) = HeaderValue::try_from(format!("wait={}", wait.as_secs().max(1))) {
            headers.insert(PREFER, prefer);
        }
    }
}

const INDEX: &str = "x-index";
const PREFER: &str = "prefer";

/// What an answer may take beyond the wait.
const SLACK: Duration = Duration::from_secs(10);

/// Even a server whose list changes all the time is asked no more often.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| ((*name).parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_index_is_sent_back_until_it_goes_backwards() {
        let mut cursor = Cursor::default();
        let wait = Duration::from_secs(30);
        let mut urls = Vec::new();
        for index in ["5", "9", "4", "6", "0"] {
            let fields: HeaderMap = [("x-index".parse().expect("a name"), HeaderValue::from_static(index))]
                .into_iter()
                .collect::<HeaderMap>();
            cursor.on_answer(&fields);
            urls.push(cursor.url("http://a/b?c=d", wait));
        }
        let with = |index: u64| format!("http://a/b?c=d&index={index}&wait=30s");
        let plain = "http://a/b?c=d".to_owned();
        assert_eq!(urls, [with(5), with(9), plain.clone(), with(6), plain]);
    }

    #[test]
    fn an_etag_is_sent_back_with_the_wait() {
        let mut cursor = Cursor::default();
        let mut headers = HeaderMap::new();
        cursor.ask(&mut headers, Duration::from_secs(30));
        assert!(headers.is_empty());
        cursor.on_answer(&answer(&[("etag", "\"a\"")]));
        cursor.ask(&mut headers, Duration::from_secs(30));
        assert_eq!(headers, answer(&[("if-none-match", "\"a\""), ("prefer", "wait=30")]));
    }

    #[test]
    fn a_server_that_does_not_hold_its_answer_is_asked_at_intervals() {
        let seconds = Duration::from_secs;
        let spec = HttpSource {
            url: "http://a/".to_owned(),
            headers: SecretFields::default(),
            wait: seconds(30),
            interval: seconds(5),
            ca: None,
        };
        assert_eq!(pause(true, seconds(1), &spec), seconds(4));
        assert_eq!(pause(true, seconds(30), &spec), SHORTEST_PAUSE);
        assert_eq!(pause(false, seconds(1), &spec), SHORTEST_PAUSE);
    }
}
