//! The control thread: it brings the gateway up, keeps its configuration the latest, and ends it. It may be slow or
//! wait; traffic does not pass it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use tidegate_config::plan::Plan;
use tidegate_config::{Problem, Severity};
use tidegate_proxy::{Gateway, GatewayOptions};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::admin::Admin;
use crate::apply::{self, Before, EPOCH_TICK, Outcome, Ready, Workshop};
use crate::descriptors;
use crate::discover::{Discovery, NameFailure};
use crate::provider::FileProvider;
use crate::signals::{EndSignals, Signals};
use crate::status::{Behind, Current, Status};
use crate::{inspect, memory};

/// For clients that may be gone or not: see [`GatewayOptions::grace`].
const GRACE: Duration = Duration::from_secs(1);

/// Runs the gateway until a signal ends it.
pub(crate) fn run(main: PathBuf, drain: Duration) -> Result<ExitCode> {
    descriptors::raise_limit();
    on_control_thread(async move {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        match Control::start(main).await? {
            Started::Running(mut control) => control.serve(&mut signals, drain).await,
            Started::Refused(problems) => {
                inspect::write_problems(&mut std::io::stderr().lock(), &problems, inspect::MOST)?;
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// Runs a future on a runtime of this thread; what is blocked in the background does not hold the end.
pub(crate) fn on_control_thread<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("tidegate-blocking")
        .build()
        .context("the control runtime cannot start")?;
    let result = LocalSet::new().block_on(&runtime, future);
    runtime.shutdown_background();
    result
}

/// A running gateway and what keeps it up to date.
pub(crate) struct Control {
    main: PathBuf,
    gateway: Gateway,
    workshop: Arc<Workshop>,
    workers: NonZeroUsize,
    live: Arc<Ready>,
    status: Rc<Status>,
    admin: Admin,
    provider: FileProvider,
    discovery: Discovery,
    /// Listeners and where they are, as it was told.
    listening: HashSet<(String, SocketAddr)>,
}

/// How a start ended.
pub(crate) enum Started {
    /// The gateway accepts connections.
    Running(Box<Control>),
    /// The configuration cannot be run.
    Refused(Vec<Problem>),
}

/// What makes the control thread act.
enum Event {
    Files,
    Hangup(&'static str),
    Reopen,
    Modules,
    Names,
    Releases,
    End(&'static str),
}

impl Control {
    /// Brings the gateway up: configuration, workers, admin API, listeners, and only then the file watch.
    pub(crate) async fn start(main: PathBuf) -> Result<Started> {
        Self::start_with(main, Workshop::open()?).await
    }

    /// As [`Control::start`] with this workshop.
    pub(crate) async fn start_with(main: PathBuf, workshop: Workshop) -> Result<Started> {
        let status = Rc::new(Status::new());
        let workshop = Arc::new(workshop);
        let attempt = apply::prepare(&main, &workshop, &Before::Start);
        let ready = match attempt.outcome {
            Outcome::Ready(ready) => ready,
            Outcome::Refused(problems) => return Ok(Started::Refused(problems)),
            Outcome::Unchanged => return Err(anyhow!("nothing runs, yet the configuration is unchanged")),
        };
        let workers = ready.snapshot.plan().workers.unwrap_or_else(cpus);
        let gateway = Gateway::start(GatewayOptions {
            workers,
            engine: workshop.engine.clone(),
            epoch_tick: EPOCH_TICK,
            give_back: memory::give_back,
            grace: GRACE,
        })
        .context("the workers cannot start")?;
        let discovery = Discovery::new(gateway.clone());
        let workshop_of_admin = Arc::clone(&workshop);
        let mut admin = Admin::new(
            main.clone(),
            Rc::clone(&status),
            gateway.clone(),
            workshop_of_admin,
            discovery.book(),
        );
        let change = admin.prepare(ready.admin(), &ready.admin_tls)?;
        let generation = gateway.publish(Arc::clone(&ready.snapshot)).map_err(|error| anyhow!("{error}"))?;
        admin.switch(change);

        let live = Arc::from(ready);
        let provider = FileProvider::new();
        let listening = HashSet::new();
        let mut control =
            Self { main, gateway, workshop, workers, live, status, admin, provider, discovery, listening };
        control.on_published(generation);
        control.wait_for_sources();
        spawn_local(control.gateway.clone().watch_servers());
        spawn_local(memory::watch(control.gateway.clone(), Rc::clone(&control.status)));
        control.provider.watch(attempt.stamps);
        spawn_local(Arc::clone(&control.workshop.library).run());
        Ok(Started::Running(Box::new(control)))
    }

    /// Keeps the configuration the latest until a signal comes, then drains.
    pub(crate) async fn serve(&mut self, signals: &mut Signals, drain: Duration) -> Result<ExitCode> {
        let mut releases = tokio::time::interval(RELEASES_RECHECK);
        releases.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_releases = self.gateway.has_releases();
            let names_due = self.workshop.names.due(self.live.snapshot.plan());
            let event = tokio::select! {
                signal = ends(&self.status, &mut signals.end) => Event::End(signal),
                _ = signals.hangup.recv() => Event::Hangup("SIGHUP"),
                () = self.status.wanted.reload.notified() => Event::Hangup("admin API"),
                _ = signals.user1.recv() => Event::Reopen,
                () = self.provider.changed() => Event::Files,
                () = self.workshop.library.news() => Event::Modules,
                () = passed(names_due), if names_due.is_some() => Event::Names,
                _ = releases.tick(), if has_releases => Event::Releases,
            };
            if let Event::End(signal) = event {
                return Ok(self.drain(signal, signals, drain).await);
            }
            // A reload may compile for seconds; the end does not wait for it.
            let status = Rc::clone(&self.status);
            let signal = tokio::select! {
                signal = ends(&status, &mut signals.end) => signal,
                () = self.on_event(event) => continue,
            };
            return Ok(self.drain(signal, signals, drain).await);
        }
    }

    /// Where a listener is bound.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        self.gateway.addresses(listener)
    }

    /// Where the admin API is bound.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// What the gateway knows of itself.
    pub(crate) fn status(&self) -> Rc<Status> {
        Rc::clone(&self.status)
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Files => {
                self.workshop.library.recheck();
                self.reload("files").await;
            }
            Event::Reopen => {
                info!("SIGUSR1: opening log files again");
                self.gateway.reopen_logs();
            }
            Event::Hangup(cause) => {
                self.gateway.reopen_logs();
                self.workshop.library.recheck();
                self.reload(cause).await;
            }
            Event::Modules => self.reload("modules").await,
            Event::Releases => self.gateway.judge_releases(self.status.started.elapsed()),
            Event::Names if self.have_names_moved().await => self.reload("names").await,
            Event::Names | Event::End(_) => {}
        }
    }

    /// Tries the configuration as it is now.
    async fn reload(&mut self, cause: &'static str) {
        let (main, workshop) = (self.main.clone(), Arc::clone(&self.workshop));
        let before = Before::Live(Arc::clone(&self.live));
        let prepare = move || {
            let attempt = apply::prepare(&main, &workshop, &before);
            memory::give_back();
            attempt
        };
        let attempt = match spawn_blocking(prepare).await {
            Ok(attempt) => attempt,
            Err(error) => {
                let message = format!("the configuration could not be tried: {error}");
                return self.refuse(vec![apply::problem(&self.main, String::new(), message)]);
            }
        };
        match attempt.outcome {
            Outcome::Unchanged => {
                info!(cause, generation = self.status.generation(), "configuration unchanged");
                self.status.on_unchanged();
            }
            Outcome::Refused(problems) => self.refuse(problems),
            Outcome::Ready(ready) => self.publish(Arc::from(ready), cause),
        }
        // Only these can mend what was refused; what runs is in memory.
        self.provider.watch(attempt.stamps);
    }

    fn publish(&mut self, ready: Arc<Ready>, cause: &'static str) {
        let change = match self.admin.prepare(ready.admin(), &ready.admin_tls) {
            Ok(change) => change,
            Err(error) => return self.refuse(vec![self.admin_problem(&error)]),
        };
        match self.gateway.publish(Arc::clone(&ready.snapshot)) {
            Ok(generation) => {
                self.admin.switch(change);
                self.live = ready;
                info!(cause, generation, "configuration published");
                self.on_published(generation);
            }
            Err(error) => {
                self.refuse(vec![apply::problem(&self.main, "listeners".to_owned(), error.to_string())]);
            }
        }
    }

    fn admin_problem(&self, error: &anyhow::Error) -> Problem {
        apply::problem(&self.main, "admin.address".to_owned(), format!("{error:#}"))
    }

    /// Until the sources of servers have answered, clients should not be sent here.
    fn wait_for_sources(&self) {
        let (answers, status) = (self.discovery.first_answers(), Rc::clone(&self.status));
        status.awaits_servers.set(true);
        spawn_local(async move {
            answers.await;
            status.awaits_servers.set(false);
        });
    }

    fn on_published(&mut self, generation: u64) {
        let live = Arc::clone(&self.live);
        self.discovery.follow(live.snapshot.plan());
        self.admin.push(live.snapshot.metrics_push());
        for warning in &live.warnings {
            warn!("{warning}");
        }
        log_name_failures(&live.name_failures);
        let plan = live.snapshot.plan();
        self.status.memory.want(plan.memory);
        for (plugin, why) in live.plugins.failed() {
            if plan.is_canary(plugin) {
                error!(plugin, "canary failed to load, all requests pass the plugin itself: {why}");
                continue;
            }
            error!(plugin, "plugin failed to load, its routes follow onFailure.load: {why}");
        }
        for (plugin, wanted) in live.plugins.loading() {
            if plan.is_canary(plugin) {
                info!(plugin, module = %wanted, "canary waits for its module, all requests pass the plugin itself");
                continue;
            }
            warn!(plugin, module = %wanted, "plugin waits for its module, its routes follow onFailure.load");
        }
        for (plugin, behind) in live.plugins.behind() {
            match behind {
                Behind::Loading(wanted) => {
                    info!(plugin, module = %wanted, "plugin waits for its module, the earlier version serves");
                }
                Behind::Failed(why) => {
                    error!(plugin, "new version of a plugin refused, the earlier one serves: {why}");
                }
            }
        }
        self.workshop.library.retain(&live.plugins.wanted());
        if plan.workers.is_some_and(|wanted| wanted != self.workers) {
            warn!(workers = self.workers, "the number of workers changes with a restart");
        }
        self.tell_addresses(plan, generation);
        self.status.on_published(Current {
            generation,
            since: SystemTime::now(),
            document: live.document.clone(),
            shared_data: plan.admin.as_ref().map(|admin| admin.shared_data.clone()).unwrap_or_default(),
            steers: plan.admin.as_ref().is_some_and(|admin| admin.steers),
            warnings: live.warnings.clone(),
            plugins: live.plugins.states(),
        });
        let (gateway, status) = (self.gateway.clone(), Rc::clone(&self.status));
        spawn_local(async move {
            gateway.live(generation).await;
            // The workers have let go of the generation before, and do the same.
            memory::give_back();
            info!(generation, "configuration live on all workers");
            status.on_served(generation);
        });
    }

    /// Tells where listeners are that were not there before.
    fn tell_addresses(&mut self, plan: &Plan, generation: u64) {
        let before = std::mem::take(&mut self.listening);
        for listener in &plan.listeners {
            for address in self.gateway.addresses(&listener.name) {
                let place = (listener.name.clone(), address);
                if !before.contains(&place) {
                    info!(listener = listener.name, %address, generation, "listening");
                }
                self.listening.insert(place);
            }
        }
    }

    /// Keeps what runs, and tells why, once for the same problems.
    fn refuse(&self, mut problems: Vec<Problem>) {
        problems.retain(|problem| problem.severity == Severity::Error);
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if self.status.on_rejected(problems) {
            let generation = self.status.generation();
            error!(problems = lines.len(), "configuration rejected, keeping generation {generation}");
            for line in lines {
                error!("{line}");
            }
        }
    }

    /// Whether a name of the running configuration has other addresses now.
    async fn have_names_moved(&self) -> bool {
        let (live, workshop) = (Arc::clone(&self.live), Arc::clone(&self.workshop));
        let resolve = move || workshop.names.resolve(live.snapshot.plan(), Some(&live.addresses));
        match spawn_blocking(resolve).await {
            Ok((addresses, failures)) => {
                if failures != self.live.name_failures {
                    log_name_failures(&failures);
                }
                addresses != self.live.addresses
            }
            Err(_) => false,
        }
    }

    async fn drain(&self, signal: &str, signals: &mut Signals, deadline: Duration) -> ExitCode {
        info!(signal, seconds = deadline.as_secs(), "draining");
        self.status.draining.set(true);
        tokio::select! {
            ended = self.gateway.drain(deadline) => {
                match ended {
                    true => info!("drained"),
                    false => warn!("requests were still in flight at the deadline"),
                }
                self.gateway.stop();
                if let Some(push) = self.live.snapshot.metrics_push() {
                    self.admin.push_now(push);
                }
                if !self.gateway.flush(FLUSH).await {
                    warn!("collectors did not take everything in time");
                }
                ExitCode::SUCCESS
            }
            signal = signals.end.next() => {
                warn!(signal, "ending at once");
                self.gateway.cut_off(CUT_OFF).await;
                ExitCode::FAILURE
            }
        }
    }
}

/// Waits until a name is to be looked up again.
async fn passed(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What asks for the end: a signal or the admin API.
async fn ends(status: &Status, signals: &mut EndSignals) -> &'static str {
    tokio::select! {
        signal = signals.next() => signal,
        () = status.wanted.end.notified() => "admin API",
    }
}

fn log_name_failures(failures: &[NameFailure]) {
    for failure in failures {
        warn!(
            upstream = failure.upstream,
            server = failure.server,
            "cannot look up a server's name, {}: {}",
            if failure.kept { "keeping its addresses" } else { "it takes no requests until that works" },
            failure.why
        );
    }
}

fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How long workers have to close their sockets when all is to end at once: one may be inside a guest.
const CUT_OFF: Duration = Duration::from_millis(200);

/// How long the end waits for collectors.
const FLUSH: Duration = Duration::from_secs(5);

/// How often it is looked at whether new versions keep their bounds.
const RELEASES_RECHECK: Duration = Duration::from_millis(500);
