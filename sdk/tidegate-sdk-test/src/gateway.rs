//! The gateway that tests talk to: the same filter in several worlds, each on a thread of its own.
#![allow(clippy::panic, reason = "a test harness fails a test by a panic")]

use std::fmt;
use std::marker::PhantomData;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_sdk::Filter;

use crate::answer::{Answer, Ended};
use crate::machine::Machine;
use crate::message::{Connect, Reply, Request, Seen};
use crate::native::Native;
use crate::variant::Variant;
use crate::world::{RedisScript, Script, World};

/// Makes the machine of one world; the argument says whether its host can show a body while it holds the head.
type Make = Arc<dyn Fn(bool) -> Result<Box<dyn Machine>, String> + Send + Sync>;

/// A gateway with a filter, scripted servers and a clock of its own.
///
/// ```
/// use tidegate_sdk::{Filter, NoConfig, Request, filter};
/// use tidegate_sdk_test::{Gateway, get};
///
/// struct Tagger;
///
/// #[filter]
/// impl Filter for Tagger {
///     fn new(_: NoConfig) -> Self {
///         Tagger
///     }
///
///     async fn on_request(&self, request: &mut Request) {
///         request.headers().set("x-tag", "1");
///     }
/// }
///
/// # fn main() {
/// let gateway = Gateway::<Tagger>::start("{}").unwrap();
/// let answer = gateway.send(get("/orders"));
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.upstream().unwrap().header("x-tag"), Some("1"));
/// # }
/// ```
///
/// Each request is sent in several ways: at once; byte by byte; in halves with trailers behind them; with headers that
/// repeat and are not UTF-8; with late answers to calls; short bodies, those of answers too, also cut in two at every
/// place. Each way has a world of its own, with its own instance of the filter, which sees all requests of the test in
/// that way. What becomes of a request must be the same in all of them; where it is not, `send` panics and says in which
/// way it differs, how, and what the filter logged there.
pub struct Gateway<F> {
    make: Make,
    worlds: Vec<Thread>,
    splits: bool,
    /// All that was done, for worlds that are made later.
    history: RwLock<Vec<Done>>,
    filter: PhantomData<fn() -> F>,
}

#[derive(Clone)]
enum Done {
    Sent(Box<Request>),
    Passed(Duration),
    OnCall(String, Script),
    OnRedis(String, RedisScript),
    OnUpstream(Script),
}

/// Why a filter could not be started.
///
/// ```
/// # use tidegate_sdk::{Filter, NoConfig, Request, filter};
/// # struct Plain;
/// # #[filter]
/// # impl Filter for Plain {
/// #     fn new(_: NoConfig) -> Self {
/// #         Plain
/// #     }
/// # }
/// # fn main() {
/// use tidegate_sdk_test::Gateway;
///
/// let refused = Gateway::<Plain>::start(r#"{ "key": 1 }"#).unwrap_err();
/// assert!(refused.to_string().contains("config.key"), "{refused}");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl<F> fmt::Debug for Gateway<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("worlds", &self.worlds.len()).finish_non_exhaustive()
    }
}

/// In which ways requests are sent besides the plain one.
///
/// ```
/// # use tidegate_sdk::{Filter, NoConfig, Request, filter};
/// # struct Plain;
/// # #[filter]
/// # impl Filter for Plain {
/// #     fn new(_: NoConfig) -> Self {
/// #         Plain
/// #     }
/// # }
/// # fn main() {
/// use tidegate_sdk_test::{Gateway, Ways, get};
///
/// // For a filter whose answers say how many headers there were.
/// let gateway = Gateway::<Plain>::with("", Ways::all().without_odd_headers()).unwrap();
/// assert_eq!(gateway.send(get("/")).status(), 200);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Ways {
    pieces: bool,
    trailers: bool,
    odd_headers: bool,
    late_answers: bool,
    held_bodies: bool,
}

impl Ways {
    /// All that any filter must bear.
    pub const fn all() -> Self {
        Ways { pieces: true, trailers: true, odd_headers: true, late_answers: true, held_bodies: false }
    }

    /// The plain one only.
    pub const fn plain() -> Self {
        Ways { pieces: false, trailers: false, odd_headers: false, late_answers: false, held_bodies: false }
    }

    /// Without cutting bodies.
    pub const fn without_pieces(mut self) -> Self {
        self.pieces = false;
        self
    }

    /// Without adding trailers.
    pub const fn without_trailers(mut self) -> Self {
        self.trailers = false;
        self
    }

    /// Without adding headers.
    pub const fn without_odd_headers(mut self) -> Self {
        self.odd_headers = false;
        self
    }

    /// Without late answers to calls.
    pub const fn without_late_answers(mut self) -> Self {
        self.late_answers = false;
        self
    }

    /// Also as in hosts that show no body while they hold the head, as Envoy by default: a filter that changes the head
    /// after [`collect`](tidegate_sdk::Body::collect) fails there.
    pub const fn portable(mut self) -> Self {
        self.held_bodies = true;
        self
    }

    fn wants(self, variant: &Variant) -> bool {
        (self.pieces || variant.pieces == crate::variant::Pieces::Whole || !variant.feeds)
            && (self.trailers || !variant.trailers)
            && (self.odd_headers || !variant.odd_headers)
            && (self.late_answers || !variant.late_answers)
            && (self.held_bodies || variant.feeds)
    }
}

impl<F: Filter> Gateway<F> {
    /// Configures the filter with the JSON that a plugin's `config` would be.
    ///
    /// # Errors
    /// What is wrong with the configuration, as it would be in the gateway's log.
    pub fn start(config: &str) -> Result<Self, Refused> {
        Self::with(config, Ways::all())
    }

    /// As [`Gateway::start`], in other ways.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn with(config: &str, ways: Ways) -> Result<Self, Refused> {
        let config = config.to_owned();
        let make = move |feeds| match Native::<F>::start(&config, feeds) {
            Ok(native) => Ok(Box::new(native) as Box<dyn Machine>),
            Err(error) => Err(error.to_string()),
        };
        Self::of(make, ways)
    }
}

impl<F: Filter> Gateway<F> {
    /// As [`Gateway::start`], in a host that has none of Tidegate's own functions, as Envoy; requests come in the plain way.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn elsewhere(config: &str) -> Result<Self, Refused> {
        let config = config.to_owned();
        let make = move |_| match Native::<F>::start(&config, false) {
            Ok(native) => Ok(Box::new(native) as Box<dyn Machine>),
            Err(error) => Err(error.to_string()),
        };
        Self::of(make, Ways::plain())
    }
}

impl<F> Gateway<F> {
    /// A gateway whose filter runs in another machine than the test's own: the built module in a real host. `make` is
    /// called once for each world, on the world's thread; its argument says whether the host is to show bodies while it
    /// holds the head.
    ///
    /// # Errors
    /// What `make` failed with.
    pub fn of(
        make: impl Fn(bool) -> Result<Box<dyn Machine>, String> + Send + Sync + 'static,
        ways: Ways,
    ) -> Result<Self, Refused> {
        let make: Make = Arc::new(make);
        let mut worlds = vec![Thread::start(&make, Variant::plain())?];
        for variant in Variant::others().into_iter().filter(|variant| ways.wants(variant)) {
            worlds.push(Thread::start(&make, variant)?);
        }
        let history = RwLock::new(Vec::new());
        Ok(Gateway { make, worlds, splits: ways.pieces, history, filter: PhantomData })
    }

    /// What the server of a name answers to the filter's calls from now on. Without it there is no answer.
    #[track_caller]
    pub fn on_call(&self, upstream: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.do_it(Done::OnCall(upstream.to_owned(), Arc::new(script)));
    }

    /// What the Redis of a name replies to each command, which is given by its words, from now on. Without it, and where the
    /// script returns none, there is no Redis.
    ///
    /// ```
    /// # use tidegate_sdk::{Filter, NoConfig, Reply, Request, Result, filter, redis};
    /// # use tidegate_sdk_test::{Gateway, get};
    /// # struct Visits;
    /// # #[filter]
    /// # impl Filter for Visits {
    /// #     fn new(_: NoConfig) -> Self { Visits }
    /// #     async fn on_request(&self, _: &mut Request) -> Result<Reply> {
    /// #         let replies = redis::at("store").command(&["INCR", "visits"]).send().await?;
    /// #         Ok(Reply::text(200, &replies.first().and_then(redis::Reply::integer).unwrap_or(0).to_string()))
    /// #     }
    /// # }
    /// # fn main() {
    /// let gateway = Gateway::<Visits>::start("").unwrap();
    /// gateway.on_redis("store", |command| match command {
    ///     [name, key] if name == b"INCR" && key == b"visits" => Some(redis::Reply::Integer(7)),
    ///     _ => None,
    /// });
    /// assert_eq!(gateway.send(get("/")).text(), "7\n");
    /// # }
    /// ```
    #[track_caller]
    pub fn on_redis(
        &self,
        upstream: &str,
        script: impl Fn(&[Vec<u8>]) -> Option<tidegate_sdk::redis::Reply> + Send + Sync + 'static,
    ) {
        self.do_it(Done::OnRedis(upstream.to_owned(), Arc::new(script)));
    }

    /// What the upstream answers to requests from now on; without it, 200 with nothing.
    #[track_caller]
    pub fn upstream(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.do_it(Done::OnUpstream(Arc::new(script)));
    }

    /// Lets time go by: timers go off, answers come.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.do_it(Done::Passed(time));
    }

    /// Sends a request through the filter, in all ways, and returns what became of it when it came at once.
    ///
    /// # Panics
    /// When the filter panics, waits for something that never comes, or cares how the request comes.
    #[track_caller]
    pub fn send(&self, request: Request) -> Answer {
        let sent = request.clone();
        let what = format!("{} {}", field(&request, ":method"), field(&request, ":path"));
        let answers = self.everywhere(&what, move |world| world.send(&sent));
        let mut answers = self.worlds.iter().zip(answers);
        let Some((_, plain)) = answers.next() else { unreachable!("there is a plain world") };
        for (world, answer) in answers {
            compare(&what, &world.name, &plain, &answer);
        }
        if self.splits {
            self.cut_everywhere(&what, &request, &plain);
        }
        self.note(Done::Sent(Box::new(request)));
        plain
    }

    /// Sends a connection of bytes through the filter, in all ways.
    ///
    /// # Panics
    /// When the filter panics, waits for something that never comes, or cares how the bytes come.
    #[track_caller]
    pub fn connect(&self, connect: Connect) -> Ended {
        let answers = self.everywhere("a connection", move |world| world.connect(&connect));
        let mut answers = self.worlds.iter().zip(answers);
        let Some((_, plain)) = answers.next() else { unreachable!("there is a plain world") };
        for (world, ended) in answers {
            // How much has gone on before a connection is closed depends on how it came.
            let same = ended.closed == plain.closed
                && (plain.closed
                    || (&ended.server_got, &ended.client_got) == (&plain.server_got, &plain.client_got));
            assert!(
                same,
                "it matters how the bytes come ({}):\n  {}\n  but plain: {}",
                world.name,
                ended.told(),
                plain.told()
            );
        }
        plain
    }

    /// The value of a counter or gauge, and the last value of a histogram.
    #[track_caller]
    pub fn metric(&self, name: &str) -> i64 {
        let name = name.to_owned();
        self.plain(move |world| world.metric(&name))
    }

    /// The test's time, since 1970.
    #[track_caller]
    pub fn now(&self) -> Duration {
        self.plain(|world| world.now())
    }

    #[track_caller]
    fn plain<T: Send + 'static>(&self, act: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
        let Some(plain) = self.worlds.first() else { unreachable!("there is a plain world") };
        plain.run(act)
    }

    #[track_caller]
    fn do_it(&self, done: Done) {
        let again = done.clone();
        self.everywhere("what the test set up", move |world| replay(world, &again));
        self.note(done);
    }

    fn note(&self, done: Done) {
        self.history.write().unwrap_or_else(PoisonError::into_inner).push(done);
    }

    /// Does something in each world; they work at the same time.
    #[track_caller]
    fn everywhere<T: Send + 'static>(
        &self,
        what: &str,
        act: impl Fn(&mut World) -> Result<T, String> + Clone + Send + 'static,
    ) -> Vec<T> {
        let begun: Vec<_> = self.worlds.iter().map(|world| world.begin(act.clone())).collect();
        let mut ended = Vec::with_capacity(begun.len());
        for (world, result) in self.worlds.iter().zip(begun) {
            match result.recv() {
                Ok(Ok(value)) => ended.push(value),
                Ok(Err(problem)) => panic!("{what} ({}): {problem}", world.name),
                Err(_) => panic!("{what} ({}): the filter panicked, see above", world.name),
            }
        }
        ended
    }

    /// Sends a request with a short body, or a short one in its answer, cut at every place, each time to a new world that
    /// has seen the same before.
    #[track_caller]
    fn cut_everywhere(&self, what: &str, request: &Request, plain: &Answer) {
        let sizes = [request.body.as_ref().map_or(0, Vec::len), plain.answered];
        let size = sizes.into_iter().filter(|size| *size <= SHORT).max().unwrap_or(0);
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = history.iter().filter(|done| matches!(done, Done::Sent(_))).count();
        if size < 2 || sent > FEW {
            return;
        }
        for at in 1..size {
            let world = match Thread::start(&self.make, Variant::cut_at(at)) {
                Ok(world) => world,
                Err(refused) => panic!("{refused}"),
            };
            let (history, request) = (history.clone(), request.clone());
            let answer = world.run(move |world| {
                history.iter().try_for_each(|done| replay(world, done))?;
                world.send(&request)
            });
            match answer {
                Ok(answer) => compare(what, &world.name, plain, &answer),
                Err(problem) => panic!("{what} ({}): {problem}", world.name),
            }
        }
    }
}

#[track_caller]
fn compare(what: &str, way: &str, plain: &Answer, answer: &Answer) {
    if let Some(difference) = plain.difference(answer) {
        panic!("it matters how {what} comes ({way}):\n{difference}");
    }
}

fn field<'a>(request: &'a Request, name: &str) -> &'a str {
    request.head.get_str(name).unwrap_or_default()
}

fn replay(world: &mut World, done: &Done) -> Result<(), String> {
    match done {
        Done::Sent(request) => world.send(request).map(drop),
        Done::Passed(time) => world.advance(*time),
        Done::OnCall(upstream, script) => {
            world.on_call(upstream, script.clone());
            Ok(())
        }
        Done::OnRedis(upstream, script) => {
            world.on_redis(upstream, script.clone());
            Ok(())
        }
        Done::OnUpstream(script) => {
            world.on_upstream(script.clone());
            Ok(())
        }
    }
}

type Job = Box<dyn FnOnce(&mut World) + Send>;

/// A world's thread.
struct Thread {
    name: String,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(make: &Make, variant: Variant) -> Result<Self, Refused> {
        let (jobs, work) = channel::<Job>();
        let (ready, started) = channel();
        let (make, name) = (make.clone(), variant.name.clone());
        let run = move || {
            let world = make(variant.feeds).and_then(|machine| World::new(machine, variant));
            match world {
                Ok(mut world) => {
                    // The test may be over by now.
                    let _ = ready.send(Ok(()));
                    work.into_iter().for_each(|job| job(&mut world));
                }
                Err(problem) => {
                    let _ = ready.send(Err(problem));
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.clone()).spawn(run);
        let thread = thread.map_err(|error| Refused(format!("cannot start a thread: {error}")))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Thread { name, jobs: Some(jobs), thread: Some(thread) }),
            Ok(Err(problem)) => Err(Refused(problem)),
            Err(_) => Err(Refused("the filter panicked while it was configured".to_owned())),
        }
    }

    /// Begins something; its result comes by the channel, or the channel ends when the filter panics.
    fn begin<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> std::sync::mpsc::Receiver<T> {
        let (sender, result) = channel();
        let job: Job = Box::new(move |world| {
            let _ = sender.send(act(world));
        });
        if let Some(jobs) = &self.jobs {
            // A thread that has panicked drops the job, and the channel ends.
            let _ = jobs.send(job);
        }
        result
    }

    #[track_caller]
    fn run<T: Send + 'static>(&self, act: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
        match self.begin(act).recv() {
            Ok(value) => value,
            Err(_) => panic!("{}: the filter panicked, see above", self.name),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // Its panic was told already.
            let _ = thread.join();
        }
    }
}

/// Bytes of a body that is cut at every place.
const SHORT: usize = 64;

/// Requests that are sent again for that, at most.
const FEW: usize = 8;
