//! What becomes of the host's callbacks: the plugins, exchanges and waiting handlers of one instance.
//!
//! Nothing is borrowed while a filter's code runs or is dropped.

mod ids;
mod streams;
mod tasks;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate_abi::BufferKind;

use crate::exchange::{Exchange, Which};
use crate::filter::IntoFilter;
use crate::hooks::{self, Event};
use crate::plugin::{Background, Plugin};
use crate::slot::Slot;
use crate::{ConfigError, Filter, config, host, logger, time};
use ids::Ids;
use tasks::Task;

/// One instance's share of a filter. The names of its functions are those of the ABI's callbacks.
pub struct Module<F: Filter> {
    plugins: RefCell<Vec<Configured<F>>>,
    /// Streams of plugins other than the first.
    owners: RefCell<Ids<u32>>,
    exchanges: RefCell<Ids<Rc<Exchange<F::State>>>>,
    tasks: RefCell<Ids<Task<F>>>,
    /// Places for the handlers of requests and of responses that are not in use.
    idle: [RefCell<Vec<Box<dyn Slot<F>>>>; 2],
    /// Exchanges that are not in use.
    spare: RefCell<Vec<Rc<Exchange<F::State>>>>,
    /// The stream and direction that the host is asking about.
    asked: Cell<Option<(u32, Which)>>,
    /// Whether streams are connections of bytes.
    of_bytes: Cell<bool>,
}

/// A plugin and its filter; without one its configuration was refused.
struct Configured<F> {
    root: u32,
    filter: Option<Rc<F>>,
}

impl<F: Filter> Default for Module<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Filter> std::fmt::Debug for Module<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").finish_non_exhaustive()
    }
}

impl<F: Filter> Module<F> {
    /// An instance that has no plugin yet.
    pub const fn new() -> Self {
        Module {
            plugins: RefCell::new(Vec::new()),
            owners: RefCell::new(Ids::new()),
            exchanges: RefCell::new(Ids::new()),
            tasks: RefCell::new(Ids::new()),
            idle: [RefCell::new(Vec::new()), RefCell::new(Vec::new())],
            spare: RefCell::new(Vec::new()),
            asked: Cell::new(None),
            of_bytes: Cell::new(false),
        }
    }

    /// A plugin (without an owner) or a stream begins.
    pub fn on_context_create(&self, id: u32, owner: u32) {
        if owner == 0 {
            self.plugins.borrow_mut().push(Configured { root: id, filter: None });
        } else if self.plugins.borrow().len() > 1 {
            self.owners.borrow_mut().insert(id, owner);
        }
    }

    /// Configures a plugin; false refuses the configuration.
    pub fn on_configure(&self, root: u32) -> bool {
        match self.configure(root) {
            Ok(()) => true,
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    /// As [`Module::on_configure`], and says why.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn configure(&self, root: u32) -> Result<(), ConfigError> {
        host::called_about(root);
        logger::install(host::log_level());
        host::probe();
        if F::CALLBACKS.has(crate::Callbacks::REQUEST_BODY)
            || F::CALLBACKS.has(crate::Callbacks::RESPONSE_BODY)
        {
            crate::side::probe();
        }
        let text = host::buffer(BufferKind::PluginConfiguration, 0, usize::MAX).unwrap_or_default();
        let plugin = Plugin::new(root);
        let filter = F::new(config::read(&text)?, &plugin).into_filter()?;
        let filter = Rc::new(filter);
        let old = {
            let mut plugins = self.plugins.borrow_mut();
            match plugins.iter_mut().find(|known| known.root == root) {
                Some(known) => known.filter.replace(filter.clone()),
                None => {
                    plugins.push(Configured { root, filter: Some(filter.clone()) });
                    None
                }
            }
        };
        drop(old);
        self.begin_background(root, filter, &plugin);
        self.settle();
        Ok(())
    }

    fn begin_background(&self, root: u32, filter: Rc<F>, plugin: &Plugin) {
        if let Some((period, sleep)) = plugin.tick() {
            let filter = filter.clone();
            let ticks: Background = Box::pin(async move {
                loop {
                    sleep(period).await;
                    filter.on_tick().await;
                }
            });
            self.begin_task(root, ticks);
        }
        if F::CALLBACKS.has(crate::Callbacks::BACKGROUND) {
            // An instance on trial gets no tick: it must make no call, take no turn and read no queue of the others.
            self.begin_task(
                root,
                Box::pin(async move {
                    time::sleep(FIRST_TICK).await;
                    filter.background().await;
                }),
            );
        }
    }

    /// Time has passed.
    pub fn on_tick(&self, root: u32) {
        self.told(root, &hooks::TIME, Event::Tick);
    }

    /// The answer to an HTTP call is there.
    pub fn on_http_call_response(&self, root: u32, token: u32, headers: u32, body: u32, trailers: u32) {
        self.told(root, &hooks::HTTP, Event::HttpAnswer { token, headers, body, trailers });
    }

    /// First metadata of a gRPC call's answer.
    pub fn on_grpc_receive_initial_metadata(&self, root: u32, token: u32) {
        self.told(root, &hooks::GRPC, Event::GrpcInitialMetadata { token });
    }

    /// A message of a gRPC call.
    pub fn on_grpc_receive(&self, root: u32, token: u32, size: u32) {
        self.told(root, &hooks::GRPC, Event::GrpcMessage { token, size });
    }

    /// Last metadata of a gRPC call's answer.
    pub fn on_grpc_receive_trailing_metadata(&self, root: u32, token: u32) {
        self.told(root, &hooks::GRPC, Event::GrpcTrailingMetadata { token });
    }

    /// A gRPC call is over.
    pub fn on_grpc_close(&self, root: u32, token: u32, status: u32) {
        self.told(root, &hooks::GRPC, Event::GrpcClose { token, status });
    }

    /// The result of a function that answers later is there.
    pub fn on_foreign_function(&self, root: u32, token: u32, size: u32) {
        self.told(root, &hooks::FOREIGN, Event::ForeignResult { token, size });
    }

    /// A queue has an entry.
    pub fn on_queue_ready(&self, root: u32, queue: u32) {
        self.told(root, &hooks::QUEUE, Event::QueueReady { queue });
    }

    fn told(&self, root: u32, hook: &'static std::thread::LocalKey<hooks::Hook>, event: Event) {
        host::called_about(root);
        hooks::tell(hook, event);
        self.settle();
    }

    /// A stream or plugin is forgotten, and with it all that waits in its name.
    pub fn on_delete(&self, id: u32) {
        host::called_about(id);
        let exchange = self.exchanges.borrow_mut().remove(id);
        if let Some(exchange) = exchange {
            for which in [Which::Request, Which::Response] {
                self.drop_task(exchange.link.side(which).task.get());
            }
            self.recycle(exchange);
        }
        self.owners.borrow_mut().remove(id);
        let plugin = {
            let mut plugins = self.plugins.borrow_mut();
            let at = plugins.iter().position(|known| known.root == id);
            at.map(|at| plugins.remove(at))
        };
        if plugin.is_some() {
            self.drop_tasks_of(id);
        }
        drop(plugin);
        // What was dropped may have been what others wait for.
        self.settle();
    }

    /// The filter that a stream belongs to.
    #[inline]
    fn filter_of(&self, stream: u32) -> Option<Rc<F>> {
        let plugins = self.plugins.borrow();
        if let [only] = plugins.as_slice() {
            return only.filter.clone();
        }
        let owner = self.owners.borrow().get(stream).copied();
        let found = plugins.iter().find(|known| Some(known.root) == owner).or(plugins.first());
        found.and_then(|known| known.filter.clone())
    }

    /// The plugin that a context belongs to.
    fn root_of(&self, context: u32) -> u32 {
        let owner = self.owners.borrow().get(context).copied();
        let plugins = self.plugins.borrow();
        let known = |id| plugins.iter().any(|known| known.root == id);
        match owner.unwrap_or(context) {
            id if known(id) => id,
            _ => plugins.first().map_or(context, |known| known.root),
        }
    }
}

/// When background tasks begin: the shortest time that hosts know.
const FIRST_TICK: Duration = Duration::from_millis(1);
