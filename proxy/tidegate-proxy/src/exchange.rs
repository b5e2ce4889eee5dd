//! One request and its response: the walk, in wire order.
//!
//! What most requests do not do (filters, new connections, waits) is boxed, so that the future of the others stays small.

pub(crate) mod arms;
pub(crate) mod choose;
pub(crate) mod counted;
pub(crate) mod deadline;
pub(crate) mod facts;
pub(crate) mod finish;
pub(crate) mod forward;
pub(crate) mod hedge;
pub(crate) mod interim;
pub(crate) mod log_line;
pub(crate) mod logged;
pub(crate) mod mirror;
pub(crate) mod outgoing;
pub(crate) mod reroute;
pub(crate) mod retry;
pub(crate) mod session;
pub(crate) mod steps;
pub(crate) mod tapped;
pub(crate) mod traced;
pub(crate) mod tunnel;
pub(crate) mod uplink;
pub(crate) mod whole;
pub(crate) mod wish;

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, Version, header};

use http_body::Body as HttpBody;

use crate::exchange::finish::Record;
use crate::exchange::forward::Forward;
use crate::exchange::outgoing::Outgoing;
use crate::exchange::steps::{Flow, Holding, Scope, Way};
use crate::filter::chain;
use crate::http::added::Added;
use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason};
use crate::http::headers::Claims;
use crate::http::reply::Reply;
use crate::http::{headers, max_forwards, sanitize, trust};
use crate::local::{Client, View};
use crate::snapshot::{Action, Listener, Redirect};
use crate::upstream::send::Message;

/// A request from its head to the last byte of its answer.
pub(crate) struct Exchange {
    /// All that is known of it; outlives the walk as part of the answer's body.
    pub(crate) record: Box<Record>,
}

/// What comes of a message that a filter holds.
type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fail>> + 'a>>;

/// A filter has broken the exchange off: the client gets no answer.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter has broken the exchange off")
    }
}

impl Error for BrokenOff {}

impl Exchange {
    /// Serves one request. Every request gets an answer, but for those that a filter breaks off.
    pub(crate) fn run<B>(
        client: Rc<Client>,
        head: Rc<Parts>,
        body: Option<B>,
    ) -> impl Future<Output = Result<Response<Outgoing>, BrokenOff>>
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        // Out of the future, which would be copied with all that it holds.
        let version = head.version;
        let mut exchange = Self { record: Record::begin(client, &head) };
        let body = exchange.uplink(body);
        async move {
            let mut response = match exchange.proceed(head, body).await {
                Ok(response) => response,
                Err(fail) if fail.reason == Reason::PluginReset => {
                    exchange.record.failed(&fail);
                    return Err(BrokenOff);
                }
                Err(fail) => exchange.refuse(&fail, version),
            };
            // An upgrade is HTTP/1.1; everything else is framed for the client by its own connection.
            *response.version_mut() = Version::HTTP_11;
            Ok(Outgoing::wrap(response, exchange.record))
        }
    }

    /// The answer to a request whose head cannot be read: `head` is what was understood of it.
    pub(crate) fn unreadable(client: Rc<Client>, fail: &Fail, head: &Rc<Parts>) -> Response<Outgoing> {
        let mut exchange = Self { record: Record::begin(client, head) };
        exchange.record.note_target(head, true);
        let response = exchange.refuse(fail, head.version);
        Outgoing::wrap(response, exchange.record)
    }

    async fn proceed(&mut self, mut head: Rc<Parts>, mut body: Body) -> Result<Response<Body>, Fail> {
        let view = self.record.view.clone();
        let listener = view.listener(self.record.listener).ok_or_else(|| Fail::gateway(Reason::Internal))?;

        let parts = Rc::make_mut(&mut head);
        let known = match sanitize::request(parts) {
            Ok(known) => known,
            Err(fail) => {
                self.record.note_target(&head, true);
                return Err(fail);
            }
        };
        if self.record.version == Version::HTTP_2 {
            headers::join_cookies(&mut parts.headers);
        }
        if let Some(tracing) = &view.snapshot.tracing {
            self.record.begin_trace(tracing, parts, known.traced);
        }
        self.record.note_target(&head, known.claims);
        if self.record.client.local.full.get() {
            return Err(Fail::gateway(Reason::Memory));
        }
        if head.headers.len() > listener.spec.limits.headers {
            return Err(Fail::client(Reason::HeadTooLarge));
        }
        let client = &self.record.client;
        if client.server_name.is_some() && !client.may_ask_for(listener, chain::host(&head)) {
            return Err(Fail::client(Reason::Misdirected));
        }
        let claims = self.claims(listener, known.claims, &head);
        // Where nobody reads the gateway's own fields before they are sent, they are written with the head only.
        let read = known.claims || listener.routes.reads_added() || self.record.tells_added();
        if read {
            self.introduce(&mut head, claims);
        } else {
            let client = &self.record.client;
            let added = Added::new(&client.forwarded, &client.local.request_ids);
            self.record.note_added(added);
        }

        let mut place = 'answered: {
            // What changes the request before the route is chosen may change the route.
            if !listener.steps.is_empty() {
                let way = Way { steps: &listener.steps, scope: Scope::Listener, prefix: 0 };
                let mut flow = self.request_steps(&view, way, 0, head, body)?;
                (head, body) = loop {
                    match flow {
                        Flow::Go(head, body) => break (head, body),
                        Flow::Reply(reply) => break 'answered Some(reply.into_response()),
                        Flow::Held(holding) => flow = self.held(&view, way, holding).await?,
                    }
                };
            }

            let mut found = self.find(&view, listener, &head)?;
            let (rule, prefix) = loop {
                let rule = view.rule(found.rule_id).ok_or_else(|| Fail::gateway(Reason::Internal))?;
                let (id, prefix) = (found.rule_id, found.matched_prefix_len);
                self.record.routed(id, rule);
                if rule.steps.is_empty() || self.record.reroute.comes_back(id) {
                    break (rule, prefix);
                }
                let way = Way { steps: &rule.steps, scope: Scope::Rule(id), prefix };
                let mut flow = self.request_steps(&view, way, 0, head, body)?;
                (head, body) = loop {
                    match flow {
                        Flow::Go(head, body) => break (head, body),
                        Flow::Reply(reply) => break 'answered Some(reply.into_response()),
                        Flow::Held(holding) => flow = self.held(&view, way, holding).await?,
                    }
                };
                match self.reroute(&view, listener, &mut head)? {
                    Some(other) => found = other,
                    None => break (rule, prefix),
                }
            };

            if let Some(heads) = &mut self.record.heads {
                heads.note_request(&head);
            }
            let added = self.record.added.take();
            let outcome = match &rule.action {
                Action::Forward(targets) => match max_forwards::count(&mut head) {
                    Ok(None) => {
                        let forward = Forward { rule, known };
                        if rule.mirrors.is_empty() {
                            self.forward(&view, targets, forward, Message::new(head, body, added)).await
                        } else {
                            Box::pin(self.mirrored(&view, targets, forward, (head, body, added))).await
                        }
                    }
                    Ok(Some(reply)) => Ok(reply.into_response()),
                    Err(fail) => Err(fail),
                },
                Action::Redirect(redirect) => Ok(self.redirect(redirect, &head, prefix).into_response()),
                Action::Respond { status, headers, body } => {
                    Ok(Action::fixed(*status, headers, body).into_response())
                }
            };
            if self.record.guests.is_empty() && rule.steps.is_empty() && listener.steps.is_empty() {
                return match outcome {
                    Ok(response) => Ok(response),
                    Err(fail) => self.answer_to(&view, &fail),
                };
            }
            // A failure after the route was found is an answer that passes the response's filters too.
            Some(match outcome {
                Ok(response) => response,
                Err(fail) => self.answer_to(&view, &fail)?,
            })
        };
        // Filters see the answer in the reverse order; one of a filter too.
        let whole = place.as_ref().is_some_and(|response| matches!(response.body(), Body::Full(_)));
        if let Some(holding) = self.respond(&view, &mut place)? {
            self.held_back(&view, holding, &mut place).await?;
        }
        let mut response = place.ok_or_else(|| Fail::gateway(Reason::Internal))?;
        if whole {
            whole::settle(&mut response);
        }
        Ok(response)
    }

    /// A request that a filter holds passes the rest of these steps.
    fn held<'a>(&'a mut self, view: &'a View, way: Way<'a>, holding: Box<Holding>) -> Later<'a, Flow> {
        Box::pin(async move {
            match self.released(view, way, holding).await {
                Err(fail) => self.ended_meanwhile(view, fail).map(Flow::Reply),
                flow => flow,
            }
        })
    }

    /// How far what the request says of its client is believed; from a trusted proxy it says who that is.
    fn claims(&mut self, listener: &Listener, any: bool, head: &Parts) -> Claims {
        let (networks, peer) = (&listener.spec.trusted_proxies, self.record.client.address);
        if !any {
            Claims::None
        } else if trust::is_trusted(networks, peer.ip()) {
            self.record.behind = Some(trust::client(&head.headers, peer, networks));
            Claims::Trusted
        } else {
            Claims::Untrusted
        }
    }

    /// Writes the fields by which upstreams learn about the client.
    fn introduce(&mut self, head: &mut Rc<Parts>, claims: Claims) {
        let (client, parts) = (&self.record.client, Rc::make_mut(head));
        headers::forwarded(&mut parts.headers, &client.forwarded, claims);
        headers::request_id(&mut parts.headers, &client.local.request_ids, claims != Claims::None);
        self.record.note_target(head, true);
    }

    /// A response that a filter holds passes it and those that the request has passed before it.
    fn held_back<'a>(
        &'a mut self,
        view: &'a View,
        holding: Box<Holding>,
        place: &'a mut Option<Response<Body>>,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            if let Err(fail) = self.answered_at_last(view, holding, place).await {
                // The guests before have seen an answer already, so this one goes as it is.
                *place = Some(self.ended_meanwhile(view, fail)?.into_response());
            }
            Ok(())
        })
    }

    /// The answer to a request that failed on its way upstream, unless a guest has broken it off.
    fn answer_to(&mut self, view: &View, fail: &Fail) -> Result<Response<Body>, Fail> {
        Ok(match self.ended_by_guest(view) {
            Some(Ok(reply)) => reply.into_response(),
            Some(Err(fail)) if fail.reason == Reason::PluginReset => return Err(fail),
            Some(Err(fail)) => self.refuse(&fail, Version::HTTP_11),
            None => self.refuse(fail, Version::HTTP_11),
        })
    }

    /// The answer to a request that failed.
    fn refuse(&mut self, fail: &Fail, version: Version) -> Response<Body> {
        self.record.failed(fail);
        let mut reply = if self.record.grpc { Reply::grpc(fail) } else { Reply::of(fail) };
        if fail.reason == Reason::PluginMissing
            && !self.record.grpc
            && let Some(slot) =
                self.record.failed_by().and_then(|plugin| self.record.view.plugins.get(plugin))
        {
            reply.body = format!("plugin {} is not loaded\n", slot.entry.name).into();
        }
        let mut response = reply.into_response();
        if fail.reason.closes() && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn redirect(&self, redirect: &Redirect, head: &Parts, prefix: usize) -> Reply {
        let secure = self.record.client.secure;
        let scheme = redirect.scheme.as_ref().map_or(if secure { "https" } else { "http" }, |s| s.as_str());
        let host = String::from_utf8_lossy(chain::host(head)).into_owned();
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
                (name, port.parse::<u16>().ok())
            }
            _ => (host.as_str(), None),
        };
        // A scheme of its own brings its own port (Gateway API, HTTPRequestRedirectFilter).
        let port = redirect.port.or(if redirect.scheme.is_some() { None } else { port });
        let port = port.filter(|&port| (scheme, port) != ("http", 80) && (scheme, port) != ("https", 443));
        let path = match &redirect.path {
            Some(path) => chain::rewritten(path, head, prefix),
            None => head.uri.path_and_query().cloned(),
        };
        let mut location = format!("{scheme}://{}", redirect.hostname.as_deref().unwrap_or(name));
        if let Some(port) = port {
            location.push(':');
            location.push_str(itoa::Buffer::new().format(port));
        }
        location.push_str(path.as_ref().map_or("/", |path| path.as_str()));
        let mut reply = Reply {
            status: redirect.status,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            details: String::new(),
        };
        if let Ok(location) = HeaderValue::try_from(location) {
            reply.headers.insert(header::LOCATION, location);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Rc<Client>, Rc<Parts>, Option<Body>) -> F) -> usize {
        size_of::<F>()
    }

    /// Each request in flight holds one; what is rare is boxed so that it stays small.
    #[test]
    fn an_exchange_is_small() {
        let size = size_of_future(Exchange::run::<Body>);
        assert!(size <= 2560, "{size} bytes");
    }
}
