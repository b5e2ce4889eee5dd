//! Which path of the admin API is what.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::Way;
use super::answer::{AdminBody, AdminError, json_body, respond, text};
use super::{
    Shown, answer, assets, candidate, connections, metrics, peers, profile, releases, servers, shared, stats,
    tap,
};

/// A path of the API.
pub(super) struct Endpoint {
    /// The whole path; with a slash at its end everything below it.
    pub(super) path: &'static str,
    /// `GET` means `HEAD` too.
    pub(super) methods: &'static [&'static str],
    /// Probes and the dashboard's files need no token.
    open: bool,
    does: Does,
    /// For the list at `/`.
    about: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Index,
    Health,
    Ready,
    Metrics,
    Config,
    Ledger,
    Servers,
    Stats,
    Connections,
    Part(stats::Part),
    Certificates,
    Explain,
    Diff,
    Levels,
    Profile,
    Reload,
    Drain,
    Peers,
    Tap,
    Releases,
    Steer,
    SharedData,
    OpenApi,
    Dashboard,
}

const fn shows(path: &'static str, does: Does, about: &'static str) -> Endpoint {
    Endpoint { path, methods: &["GET"], open: false, does, about }
}

const fn takes(
    path: &'static str,
    methods: &'static [&'static str],
    does: Does,
    about: &'static str,
) -> Endpoint {
    Endpoint { path, methods, open: false, does, about }
}

const fn open(path: &'static str, does: Does, about: &'static str) -> Endpoint {
    Endpoint { path, methods: &["GET"], open: true, does, about }
}

/// All paths, in the order in which they are listed.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    open("/", Does::Index, ""),
    open("/dashboard/", Does::Dashboard, "the dashboard, for browsers"),
    open("/healthz", Does::Health, "the process lives"),
    open("/readyz", Does::Ready, "a configuration is served by all workers, and the end has not begun"),
    shows("/metrics", Does::Metrics, "Prometheus, or OpenMetrics for those who accept it"),
    shows("/config", Does::Config, "the running configuration, and why a later one was refused"),
    shows("/stats", Does::Stats, "everything that is counted, in one piece"),
    shows(
        "/connections",
        Does::Connections,
        "clients' connections by listener, and each: ?limit=100&order=newest&listener=NAME",
    ),
    shows("/routes", Does::Part(stats::Part::Routes), "routes with their answers"),
    shows("/upstreams", Does::Part(stats::Part::Upstreams), "upstreams with their servers"),
    shows("/servers", Does::Servers, "servers of each upstream: where they come from, how they are"),
    shows("/plugins", Does::Part(stats::Part::Plugins), "plugins with their versions and what they cost"),
    shows("/certificates", Does::Certificates, "certificates of listeners and when they end"),
    shows(
        "/ledger",
        Does::Ledger,
        "which configurations and versions of plugins are still held, and by what",
    ),
    takes("/explain", &["POST"], Does::Explain, "POST: what would be done with a request, and why"),
    takes(
        "/diff",
        &["POST"],
        Does::Diff,
        "POST: which requests a candidate configuration would treat otherwise",
    ),
    shows("/tap", Does::Tap, "live requests with the path that each took, a line each"),
    takes("/log-levels", &["GET", "PUT"], Does::Levels, "levels of the gateway's own log; PUT takes others"),
    shows(
        "/profile",
        Does::Profile,
        "a CPU profile as a flame graph: ?seconds=5&frequency=99&format=svg or folded",
    ),
    takes("/reload", &["POST"], Does::Reload, "POST: reads the configuration again, as SIGHUP does"),
    takes("/drain", &["POST"], Does::Drain, "POST: ends the process as SIGTERM does"),
    takes("/peers", &["GET", "POST"], Does::Peers, "other gateways that push what they count; POST pushes"),
    shows("/releases", Does::Releases, "new versions on their way"),
    takes(
        "/releases/",
        &["POST"],
        Does::Steer,
        "ID/ORDER: POST steers a release, where admin.steerReleases allows it",
    ),
    takes(
        "/shared-data/",
        &["GET", "PUT"],
        Does::SharedData,
        "PLUGIN/KEY: a value that plugins share, where admin.sharedData allows it; GET, PUT",
    ),
    open("/openapi.json", Does::OpenApi, "this API in OpenAPI 3.1"),
];

/// Answers a request.
pub(super) async fn answer(request: Request<Incoming>, way: Way, shown: &Rc<Shown>) -> Response<AdminBody> {
    let (head, body) = request.into_parts();
    let found = find(head.uri.path());
    let checked = shown.access.borrow().check(&head, way, found.is_none_or(|endpoint| endpoint.open));
    if let Err((status, why)) = checked {
        let mut refused = text(status, why);
        if status == StatusCode::UNAUTHORIZED {
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return refused;
    }
    let Some(endpoint) = found else { return text(StatusCode::NOT_FOUND, index()) };
    let method = if head.method == Method::HEAD { "GET" } else { head.method.as_str() };
    if !endpoint.methods.contains(&method) {
        let allowed = endpoint.methods.join(", ");
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, format!("{allowed} is wanted here\n"));
        if let Ok(allowed) = HeaderValue::from_str(&allowed) {
            refused.headers_mut().insert(ALLOW, allowed);
        }
        return refused;
    }
    done(endpoint.does, &head, body, shown).await.unwrap_or_else(AdminError::into_response)
}

fn find(path: &str) -> Option<&'static Endpoint> {
    // As it is typed; its files are beside the page.
    let path = if path == assets::PREFIX.trim_end_matches('/') { assets::PREFIX } else { path };
    ENDPOINTS.iter().find(|endpoint| match endpoint.path {
        "/" => path == "/",
        below if below.ends_with('/') => path.starts_with(below),
        whole => path == whole,
    })
}

async fn done(
    does: Does,
    head: &Parts,
    body: Incoming,
    shown: &Rc<Shown>,
) -> Result<Response<AdminBody>, AdminError> {
    Ok(match does {
        Does::Index => page_or_list(head),
        Does::Dashboard => {
            let Some(name) = head.uri.path().strip_prefix(assets::PREFIX) else {
                return Ok(to_dashboard(StatusCode::MOVED_PERMANENTLY));
            };
            assets::answer(name, &head.headers)
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such file\n"))
        }
        Does::Health => text(StatusCode::OK, "ok\n"),
        Does::Ready => answer::ready(&shown.status),
        Does::Metrics => {
            let accept = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let (form, kind) = metrics::form(accept);
            respond(StatusCode::OK, kind, metrics::page(shown, form).into_text())
        }
        Does::Config => json_body(&answer::config(shown)),
        Does::Servers => json_body(&servers::servers(shown).await),
        Does::Ledger => json_body(&answer::ledger(shown)),
        Does::Stats => answer::compact(&stats::now(shown).await),
        Does::Connections => json_body(&connections::connections(head, shown).await?),
        Does::Part(part) => json_body(&stats::part(shown, part).await),
        Does::Certificates => json_body(&Certificates { certificates: shown.certificates() }),
        Does::Explain => {
            let told = candidate::explain(shown, read(body).await?)?;
            if accepts(head, "text/plain") {
                text(StatusCode::OK, told.to_string())
            } else {
                json_body(&told)
            }
        }
        Does::Diff => json_body(&candidate::diff(shown, &read(body).await?)?),
        Does::Levels if head.method == Method::PUT => {
            may_operate(shown)?;
            answer::set_levels(&whole(body).await?)?
        }
        Does::Levels => text(StatusCode::OK, answer::levels()),
        Does::Profile => {
            may_operate(shown)?;
            profile::answer(head, shown).await?
        }
        Does::Reload => {
            may_operate(shown)?;
            shown.status.wanted.reload.notify_one();
            text(StatusCode::ACCEPTED, "the configuration is read again\n")
        }
        Does::Drain => {
            may_operate(shown)?;
            shown.status.wanted.end.notify_one();
            text(StatusCode::ACCEPTED, "the end has begun\n")
        }
        Does::Peers if head.method == Method::POST => {
            shown.peers.take(read(body).await?)?;
            respond(StatusCode::NO_CONTENT, "text/plain", "")
        }
        Does::Peers => json_body(&peers::Merged { peers: shown.peers.now() }),
        Does::Tap => tap::open(head, shown).await?,
        Does::Releases => json_body(&releases::all(shown)),
        Does::Steer => releases::steer(head.uri.path(), shown),
        Does::SharedData => shared::answer(head, body, shown).await,
        Does::OpenApi => respond(StatusCode::OK, "application/json", OPENAPI),
    })
}

/// Whether the configuration lets the API do more than show.
fn may_operate(shown: &Shown) -> Result<(), AdminError> {
    match shown.access.borrow().operates() {
        true => Ok(()),
        false => Err(AdminError::new(StatusCode::FORBIDDEN, "admin.operate is not set")),
    }
}

fn accepts(head: &Parts, kind: &str) -> bool {
    let accept = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(kind))
}

/// Browsers go on to the dashboard, everyone else gets a list.
fn page_or_list(head: &Parts) -> Response<AdminBody> {
    if !accepts(head, "text/html") {
        return text(StatusCode::OK, index());
    }
    to_dashboard(StatusCode::FOUND)
}

fn to_dashboard(status: StatusCode) -> Response<AdminBody> {
    let mut moved = text(status, "the dashboard is at /dashboard/\n");
    moved.headers_mut().insert(LOCATION, HeaderValue::from_static(assets::PREFIX));
    moved
}

fn index() -> String {
    let listed = ENDPOINTS.iter().filter(|endpoint| !endpoint.about.is_empty());
    listed.map(|endpoint| format!("{:<14}  {}\n", endpoint.path, endpoint.about)).collect()
}

async fn whole(body: Incoming) -> Result<Bytes, AdminError> {
    match Limited::new(body, LARGEST_BODY).collect().await.map(Collected::to_bytes) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(AdminError::new(StatusCode::PAYLOAD_TOO_LARGE, "a body has 4 MiB at most"))
        }
        Err(error) => {
            Err(AdminError::new(StatusCode::BAD_REQUEST, format!("the body did not come: {error}")))
        }
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, AdminError> {
    let bytes = whole(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        AdminError::new(StatusCode::BAD_REQUEST, format!("the body is not what is wanted here: {error}"))
    })
}

#[derive(Serialize)]
struct Certificates {
    certificates: Vec<tidegate_proxy::CertificateUse>,
}

/// The API for programs.
const OPENAPI: &str = include_str!("openapi.json");

const LARGEST_BODY: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_has_each_path_and_method() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let named = |path: &str| match path {
            "/shared-data/" => "/shared-data/{plugin}/{key}".to_owned(),
            "/releases/" => "/releases/{id}/{order}".to_owned(),
            "/dashboard/" => "/dashboard/{file}".to_owned(),
            other => other.to_owned(),
        };
        for endpoint in ENDPOINTS {
            let path = named(endpoint.path);
            let described = paths.get(&path).unwrap_or_else(|| panic!("{path} is not described"));
            for method in endpoint.methods {
                assert!(described.get(method.to_ascii_lowercase()).is_some(), "{method} {path}");
            }
        }
        assert_eq!(paths.len(), ENDPOINTS.len());
    }

    #[test]
    fn paths_are_told_apart() {
        let path = |path: &str| find(path).map(|endpoint| endpoint.path);
        assert_eq!(path("/"), Some("/"));
        assert_eq!(path("/dashboard"), Some("/dashboard/"));
        assert_eq!(path("/dashboard/views/graph.js"), Some("/dashboard/"));
        assert_eq!(path("/shared-data/a/b"), Some("/shared-data/"));
        assert_eq!((path("/stats"), path("/stats/"), path("/x")), (Some("/stats"), None, None));
    }
}
