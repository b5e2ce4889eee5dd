//! The request and the response as a filter sees them.

use std::fmt;
use std::rc::Rc;

use tidegate_abi::MapKind;

use crate::exchange::Exchange;
use crate::properties::Properties;
use crate::{Error, Headers, Outcome, Value, foreign, host, query};

/// The head of a request. `S` is the filter's [`State`](crate::Filter::State).
///
/// ```no_run
/// use tidegate_sdk::{Flow, Reply, Request};
///
/// fn route(request: &Request) -> Flow {
///     if request.method() == "GET" && request.query("page").is_none() {
///         request.set_path(&format!("{}?page=1", request.path()));
///     }
///     match request.cookie("session") {
///         Some(session) => request.headers().set("x-session", session),
///         None => return Reply::text(401, "log in first").into(),
///     }
///     Flow::Continue
/// }
/// ```
pub struct Request<S = ()> {
    headers: Headers,
    exchange: Rc<Exchange<S>>,
}

impl<S> Request<S> {
    pub(crate) const fn new(exchange: Rc<Exchange<S>>) -> Self {
        Request { headers: Headers::new(MapKind::RequestHeaders), exchange }
    }

    /// Its headers; changes are seen by the filters that follow and by the upstream.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The method, as `GET`.
    pub fn method(&self) -> String {
        self.pseudo(":method")
    }

    /// The path with its query, as `/orders?x=1`.
    pub fn path(&self) -> String {
        self.pseudo(":path")
    }

    /// The first value of a key in the query, as it is written there: percent signs are not decoded.
    pub fn query(&self, key: &str) -> Option<String> {
        let path = self.path();
        let (_, query) = path.split_once('?')?;
        query::raw(query, key).map(str::to_owned)
    }

    /// As [`Request::query`], with percent signs and pluses decoded in names and values; bytes that are no UTF-8 are
    /// replaced.
    pub fn query_decoded(&self, key: &str) -> Option<String> {
        let path = self.path();
        let (_, query) = path.split_once('?')?;
        query::decoded(query, key)
    }

    /// The value of a cookie, as it is written: hosts join the `cookie` headers of HTTP/2; of several with one name the
    /// first counts, and quotation marks are part of the value.
    pub fn cookie(&self, name: &str) -> Option<Value> {
        let header = self.headers.get("cookie")?;
        query::cookies(&header).find_map(|(known, value)| (known == name.as_bytes()).then(|| value.into()))
    }

    /// All cookies in order; those whose names are no UTF-8 are left out.
    pub fn cookies(&self) -> Vec<(String, Value)> {
        let header = self.headers.get("cookie").unwrap_or_default();
        let named = |(name, value)| Some((std::str::from_utf8(name).ok()?.to_owned(), Value::from(value)));
        query::cookies(&header).filter_map(named).collect()
    }

    /// The host with its port, if one was given, as `shop.example.com:8080`.
    pub fn authority(&self) -> String {
        self.pseudo(":authority")
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> String {
        self.pseudo(":scheme")
    }

    /// Changes the path with its query.
    pub fn set_path(&self, path: &str) {
        self.headers.set(":path", path);
    }

    /// Changes the method.
    pub fn set_method(&self, method: &str) {
        self.headers.set(":method", method);
    }

    /// Changes the host.
    pub fn set_authority(&self, authority: &str) {
        self.headers.set(":authority", authority);
    }

    /// Has the route chosen again, with the head as it is then. Changing headers alone has that effect too where the host
    /// is Tidegate or Envoy.
    ///
    /// # Errors
    /// When the host does not know the function.
    pub fn choose_route_again(&self) -> Outcome<()> {
        foreign::call("clear_route_cache", b"").map(drop)
    }

    /// Sends the request to this upstream of the gateway's configuration, whatever its rule says; until its head has gone
    /// on. Tidegate only, see [`Request::route_by_header`].
    ///
    /// # Errors
    /// When there is no such upstream, or the host is another one (status 1 for both); when the head has gone on (2); when
    /// the plugin may not choose it (10).
    pub fn set_upstream(&self, name: &str) -> Outcome<()> {
        host::foreign("tidegate_set_upstream", name.as_bytes())
            .map(drop)
            .map_err(|refusal| Error::refused(format!("choose the upstream \"{name}\""), refusal))
    }

    /// Says that the filter has nothing more to do with this exchange: what is left of the request and all of the response
    /// pass without it, which makes it cheaper. For the end of a handler; it is no more than a hint, which Tidegate heeds.
    pub fn leave(&self) {
        leave();
    }

    /// Gives the request another rule of its listener, whatever its head says: `ROUTE/RULE`, the first rule of `ROUTE`, or
    /// the only `RULE` of that name; until its head has gone on. The rule's filters follow. Tidegate only, see
    /// [`Request::route_by_header`].
    ///
    /// # Errors
    /// As [`Request::set_upstream`].
    pub fn set_route(&self, name: &str) -> Outcome<()> {
        host::foreign("tidegate_set_route", name.as_bytes())
            .map(drop)
            .map_err(|refusal| Error::refused(format!("choose the route \"{name}\""), refusal))
    }

    /// Chooses a route in a way that every host knows: sets a header by which one of the routes is matched, and has the
    /// route chosen again.
    ///
    /// # Errors
    /// When the header cannot be set, or the host does not choose again.
    pub fn route_by_header(&self, name: &str, value: &str) -> Outcome<()> {
        self.headers.try_set(name, value)?;
        self.choose_route_again()
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        let side = &self.exchange.link.request;
        !side.ended.get() || side.size.get() > 0
    }

    /// What belongs to this request and its response.
    pub fn state(&self) -> &S {
        &self.exchange.state
    }

    /// What the gateway knows besides the message.
    pub fn properties(&self) -> Properties {
        Properties::new()
    }

    fn pseudo(&self, name: &str) -> String {
        self.headers.get_str(name).unwrap_or_default()
    }
}

/// The head of a response. `S` is the filter's [`State`](crate::Filter::State).
///
/// ```no_run
/// use tidegate_sdk::Response;
///
/// fn hide(response: &Response) {
///     if response.status() == 500 {
///         response.set_status(502);
///     }
///     response.headers().remove("x-powered-by");
/// }
/// ```
pub struct Response<S = ()> {
    headers: Headers,
    exchange: Rc<Exchange<S>>,
}

impl<S> Response<S> {
    pub(crate) const fn new(exchange: Rc<Exchange<S>>) -> Self {
        Response { headers: Headers::new(MapKind::ResponseHeaders), exchange }
    }

    /// Its headers; changes are seen by the filters that follow and by the client.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The status code; 0 when the host does not tell it.
    pub fn status(&self) -> u16 {
        self.headers.get(":status").and_then(|status| status.parse()).unwrap_or(0)
    }

    /// Changes the status code.
    pub fn set_status(&self, status: u16) {
        self.headers.set(":status", status.to_string());
    }

    /// As [`Request::leave`]: what is left of the exchange, the body of the response too, passes without the filter.
    pub fn leave(&self) {
        leave();
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        let side = &self.exchange.link.response;
        !side.ended.get() || side.size.get() > 0
    }

    /// What the request has left for its response.
    pub fn state(&self) -> &S {
        &self.exchange.state
    }

    /// What the gateway knows besides the message.
    pub fn properties(&self) -> Properties {
        Properties::new()
    }
}

fn leave() {
    if let Err(refusal) = host::foreign("tidegate_leave", b"") {
        log::trace!("what is left is shown to the filter all the same: the host answered {refusal}");
    }
}

/// A connection of bytes, on listeners without HTTP. `S` is the filter's [`State`](crate::Filter::State).
///
/// ```no_run
/// use tidegate_sdk::{Body, Connection, Filter, Flow, NoConfig, filter};
///
/// struct Inside;
///
/// #[filter]
/// impl Filter for Inside {
///     fn new(_: NoConfig) -> Self {
///         Inside
///     }
///
///     async fn on_connection(&self, connection: &mut Connection, _: &mut Body) -> Flow {
///         let client = connection.properties().source().ip_addr();
///         if client.is_some_and(|ip| ip.is_loopback()) { Flow::Continue } else { Flow::Close }
///     }
/// }
/// # fn main() {}
/// ```
pub struct Connection<S = ()> {
    exchange: Rc<Exchange<S>>,
}

impl<S> Connection<S> {
    pub(crate) const fn new(exchange: Rc<Exchange<S>>) -> Self {
        Connection { exchange }
    }

    /// What belongs to this connection.
    pub fn state(&self) -> &S {
        &self.exchange.state
    }

    /// What the gateway knows of it.
    pub fn properties(&self) -> Properties {
        Properties::new()
    }
}

/// An exchange that is over, for [`Filter::on_log`](crate::Filter::on_log). Nothing can be changed any more.
///
/// ```no_run
/// use tidegate_sdk::{Filter, Finished, NoConfig, filter, log};
///
/// struct Audit;
///
/// #[filter]
/// impl Filter for Audit {
///     fn new(_: NoConfig) -> Self {
///         Audit
///     }
///
///     fn on_log(&self, finished: &Finished) {
///         let path = finished.request_headers().get_str(":path").unwrap_or_default();
///         log::info!("{path} was answered {}", finished.status());
///     }
/// }
/// # fn main() {}
/// ```
pub struct Finished<S = ()> {
    exchange: Rc<Exchange<S>>,
    request: Headers,
    response: Headers,
    trailers: Headers,
}

impl<S> Finished<S> {
    pub(crate) const fn new(exchange: Rc<Exchange<S>>) -> Self {
        Finished {
            exchange,
            request: Headers::new(MapKind::RequestHeaders),
            response: Headers::new(MapKind::ResponseHeaders),
            trailers: Headers::new(MapKind::ResponseTrailers),
        }
    }

    /// The request's headers, as they went on.
    pub fn request_headers(&self) -> &Headers {
        &self.request
    }

    /// The response's headers, as the client got them.
    pub fn response_headers(&self) -> &Headers {
        &self.response
    }

    /// The response's trailers.
    pub fn response_trailers(&self) -> &Headers {
        &self.trailers
    }

    /// The status that the client got; 0 when there was none.
    pub fn status(&self) -> u16 {
        let status = self.response.get(":status").and_then(|status| status.parse());
        status.or_else(|| self.properties().response().code()).unwrap_or(0)
    }

    /// What belonged to this request.
    pub fn state(&self) -> &S {
        &self.exchange.state
    }

    /// What the gateway knows of it, durations and sizes included.
    pub fn properties(&self) -> Properties {
        Properties::new()
    }
}

/// Makes a message's handler end with its first refused change.
pub(crate) trait HasHeaders {
    fn take_refused(&self) -> Option<Error>;
}

impl<S> HasHeaders for Request<S> {
    fn take_refused(&self) -> Option<Error> {
        self.headers.take_refused()
    }
}

impl<S> HasHeaders for Response<S> {
    fn take_refused(&self) -> Option<Error> {
        self.headers.take_refused()
    }
}

impl<S> HasHeaders for Connection<S> {
    fn take_refused(&self) -> Option<Error> {
        None
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl<S> fmt::Debug for $name<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("id", &self.exchange.id).finish_non_exhaustive()
            }
        }
    )*};
}

opaque_debug!(Request, Response, Connection, Finished);
