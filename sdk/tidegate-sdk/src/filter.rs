//! The trait that every filter implements.

use std::future::{Future, ready};

use serde::de::DeserializeOwned;

use crate::flow::IntoFlow;
use crate::{
    Body, ConfigError, Connection, Error, Failure, Finished, Flow, Plugin, Reply, Request, Response,
};

/// A filter. One value is shared by all requests of a plugin's instance, so it has what belongs to the plugin:
/// configuration, caches, clients. What belongs to one request is in variables of its handler, or in its
/// [`State`](Filter::State) when the response needs it.
///
/// Write [`#[filter]`](crate::filter) above the `impl`. It fills in what is left out: `type Config` is then
/// [`NoConfig`](crate::NoConfig), `type State` is `()`, and a handler's last parameter may be missing:
///
/// - without `body: &mut Body` the gateway does not show the body to the filter, which is then cheaper;
/// - `new` may do without `plugin: &Plugin`.
///
/// Handlers are `async`: while one waits, its message waits with it, and nothing else does. They return nothing (go on),
/// a [`Flow`], a [`Reply`], an `Option<Reply>` or a [`Result`](crate::Result) of one of these. A panic ends the Wasm
/// instance; what happens to the requests in it is decided by the plugin's `onFailure`.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_sdk::{Filter, Flow, Reply, Request, Response, filter};
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     greeting: String,
/// }
///
/// struct Greeter {
///     config: Config,
/// }
///
/// #[filter]
/// impl Filter for Greeter {
///     type Config = Config;
///
///     fn new(config: Config) -> Self {
///         Greeter { config }
///     }
///
///     async fn on_request(&self, request: &mut Request) -> Flow {
///         match request.headers().get("x-name") {
///             Some(_) => Flow::Continue,
///             None => Reply::text(400, "who are you?").into(),
///         }
///     }
///
///     async fn on_response(&self, response: &mut Response) {
///         response.headers().set("x-greeting", &self.config.greeting);
///     }
/// }
/// # fn main() {}
/// ```
pub trait Filter: Sized + 'static {
    /// Which callbacks the host is to make; [`#[filter]`](crate::filter) writes it.
    const CALLBACKS: Callbacks;

    /// What the plugin's `config` holds. A configuration that does not fit is refused when the plugin is loaded, with
    /// the path of the wrong key.
    ///
    /// It is read from JSON by a reader of the SDK's own, which leaves out of the module what the type does not ask for.
    /// It reads what serde_json reads, with three differences: a struct is not read from a list, values that the type
    /// passes over are checked like all others, and serde_json's `RawValue` is not known to it.
    type Config: DeserializeOwned + 'static;

    /// What a request leaves for its response, its log, or the other direction of a connection. Handlers of both
    /// directions may run at the same time, so it is shared: use `Cell`, `RefCell` or `OnceCell` for what changes.
    type State: Default + 'static;

    /// Makes the filter from its configuration: returns the filter, or a `Result` of it and a
    /// [`ConfigError`](crate::ConfigError) or a text. A refused configuration is not loaded; the old one goes on.
    fn new(config: Self::Config, plugin: &Plugin) -> impl IntoFilter<Self>;

    /// The request's head has arrived. It goes on when this returns, or when the body is asked for chunk by chunk.
    fn on_request(
        &self,
        request: &mut Request<Self::State>,
        body: &mut Body,
    ) -> impl Future<Output = impl IntoFlow> {
        let _ = (request, body);
        ready(())
    }

    /// The response's head has arrived. Not called for an answer that this filter itself gave, though hosts show it to the
    /// module: a filter that refuses requests and changes responses need not tell its own answers from others.
    fn on_response(
        &self,
        response: &mut Response<Self::State>,
        body: &mut Body,
    ) -> impl Future<Output = impl IntoFlow> {
        let _ = (response, body);
        ready(())
    }

    /// A client has connected to a listener of bytes. What it sends is held until this returns or asks for more.
    fn on_connection(
        &self,
        connection: &mut Connection<Self::State>,
        client: &mut Body,
    ) -> impl Future<Output = impl IntoFlow> {
        let _ = (connection, client);
        ready(())
    }

    /// The server of a connection has sent its first bytes.
    fn on_server(
        &self,
        connection: &mut Connection<Self::State>,
        server: &mut Body,
    ) -> impl Future<Output = impl IntoFlow> {
        let _ = (connection, server);
        ready(())
    }

    /// The exchange is over, whatever became of it.
    fn on_log(&self, finished: &Finished<Self::State>) {
        let _ = finished;
    }

    /// Time has passed: called as often as [`Plugin::tick_every`] said, but not while the last one still runs.
    fn on_tick(&self) -> impl Future<Output = ()> {
        ready(())
    }

    /// Begins with the host's first tick, some milliseconds after the plugin was configured, and may run as long as it
    /// lives: fetch keys, read queues. Instances that the host only starts to see whether they would start get no tick,
    /// and so have no background; nor have those that one connection or request has for itself.
    fn background(&self) -> impl Future<Output = ()> {
        ready(())
    }

    /// What happens to a message whose handler failed, or which had a change that the host refused. By default it is
    /// logged and answered: 413 for [`Error::TooLarge`], else 500. Return [`Flow::Continue`] for a filter that must
    /// never stand in the way.
    fn on_error(&self, failure: &Failure) -> Flow {
        log::error!("the filter failed: {failure}");
        match failure.error() {
            Some(Error::TooLarge { .. }) => Reply::text(413, "too large").details("filter_too_large").into(),
            _ => Reply::text(500, "filter failed").details("filter_failed").into(),
        }
    }
}

/// What [`Filter::new`] may return.
///
/// ```no_run
/// use tidegate_sdk::{Filter, filter};
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     header: String,
/// }
///
/// struct Tagger(Config);
///
/// #[filter]
/// impl Filter for Tagger {
///     type Config = Config;
///
///     fn new(config: Config) -> Result<Self, String> {
///         tidegate_sdk::units::header_name(&config.header)?;
///         Ok(Tagger(config))
///     }
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`new` cannot return `{Self}`",
    note = "it returns the filter, or `Result` of it and a `ConfigError`, a `String` or a `&str`"
)]
pub trait IntoFilter<F> {
    /// The filter, or why the configuration is refused.
    ///
    /// # Errors
    /// What `new` said is wrong.
    fn into_filter(self) -> Result<F, ConfigError>;
}

impl<F: Filter> IntoFilter<F> for F {
    fn into_filter(self) -> Result<F, ConfigError> {
        Ok(self)
    }
}

impl<F: Filter, E: Into<ConfigError>> IntoFilter<F> for Result<F, E> {
    fn into_filter(self) -> Result<F, ConfigError> {
        self.map_err(Into::into)
    }
}

/// A set of callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callbacks(u32);

impl Callbacks {
    /// None.
    pub const NONE: Self = Callbacks(0);
    /// Request heads.
    pub const REQUEST: Self = Callbacks(1);
    /// Request bodies and trailers.
    pub const REQUEST_BODY: Self = Callbacks(2);
    /// Response heads.
    pub const RESPONSE: Self = Callbacks(4);
    /// Response bodies and trailers.
    pub const RESPONSE_BODY: Self = Callbacks(8);
    /// Connections of bytes.
    pub const CONNECTION: Self = Callbacks(16);
    /// Bytes of their clients.
    pub const CLIENT: Self = Callbacks(32);
    /// Bytes of their servers.
    pub const SERVER: Self = Callbacks(64);
    /// The end of exchanges.
    pub const LOG: Self = Callbacks(128);
    /// Not a callback: there is a task in the background.
    pub const BACKGROUND: Self = Callbacks(256);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Callbacks(self.0 | other.0)
    }

    /// Whether all of another set are in this one.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
