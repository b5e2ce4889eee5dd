//! The cases: a request, and what the guest does with it. The guest's own page (`guest/src/script.rs`) has the language.

mod api_key;
pub(super) mod auth;
mod body;
mod cache;
mod calls;
mod certificate;
mod claims;
mod cors;
pub(super) mod external;
mod failure;
mod fault;
mod heads;
mod pairs;
mod rate_limit;
mod replies;
mod routing;
mod sdk;
mod transform;

use super::config::STOPS;

/// One exchange.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) listener: String,
    /// The client speaks HTTP/2.
    pub(crate) http2: bool,
    pub(crate) method: &'static str,
    /// The upstream answers by it, see `traffic.rs`.
    pub(crate) target: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// The body; each piece is sent when the guest has spoken about the one before.
    pub(crate) pieces: Vec<&'static str>,
    /// With a content-length instead of chunks.
    pub(crate) sized: bool,
    pub(crate) trailers: Vec<(&'static str, &'static str)>,
    /// The name in the certificate that the client shows, on a listener of TLS.
    pub(crate) certificate: Option<&'static str>,
}

/// A GET for `/ok` whose script is `script`.
pub(crate) fn get(name: &str, script: &'static str) -> Case {
    Case {
        name: name.to_owned(),
        listener: "web".to_owned(),
        http2: false,
        method: "GET",
        target: "/ok",
        headers: vec![("x-script", script)],
        pieces: Vec::new(),
        sized: false,
        trailers: Vec::new(),
        certificate: None,
    }
}

/// A POST with three chunks.
pub(crate) fn post(name: &str, script: &'static str) -> Case {
    Case { method: "POST", pieces: vec!["ab", "cd", "ef"], ..get(name, script) }
}

impl Case {
    pub(crate) fn to(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    pub(crate) fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn showing(self, name: &'static str) -> Self {
        Self { certificate: Some(name), ..self }
    }

    pub(crate) fn pieces(self, pieces: &[&'static str]) -> Self {
        Self { pieces: pieces.to_vec(), ..self }
    }

    pub(crate) fn sized(self) -> Self {
        Self { sized: true, ..self }
    }

    pub(crate) fn ends_with(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }
}

/// Whether a case's guest pauses a head by the action whose meaning is a setting.
fn pauses_a_head(case: &Case) -> bool {
    let scripts = case.headers.iter().filter(|(name, _)| name.starts_with("x-script"));
    let mut callbacks = scripts.flat_map(|(_, script)| script.split('|'));
    case.listener == "web"
        && callbacks.any(|steps| {
            (steps.starts_with("rqh") || steps.starts_with("rsh"))
                && steps.split(';').any(|s| s.ends_with("ret 1"))
        })
}

/// Every case, each by HTTP/1.1 and by HTTP/2; those that pause heads with both meanings of that.
pub(crate) fn all() -> Vec<Case> {
    let mut once = [heads::cases(), body::cases(), calls::cases(), replies::cases(), pairs::cases()].concat();
    let stops = once.iter().filter(|case| pauses_a_head(case)).cloned();
    let stops = stops.map(|case| Case {
        name: format!("{}, all stops", case.name),
        listener: STOPS.to_owned(),
        ..case
    });
    once.extend(stops.collect::<Vec<_>>());
    let again =
        once.iter().cloned().map(|case| Case { name: format!("{}, h2", case.name), http2: true, ..case });
    let mut cases: Vec<Case> = once.iter().cloned().chain(again).collect();
    cases.extend(failure::cases());
    cases.extend(sdk::cases());
    cases.extend(api_key::cases());
    cases.extend(auth::cases());
    cases.extend(rate_limit::cases());
    cases.extend(fault::cases());
    cases.extend(routing::cases());
    cases.extend(cors::cases());
    cases.extend(transform::cases());
    cases.extend(cache::cases());
    cases.extend(external::cases());
    cases.extend(certificate::cases());
    cases.extend(claims::cases());
    cases
}
