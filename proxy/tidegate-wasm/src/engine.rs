//! The engine: wasmtime's settings, the linkers for each ABI version, the tick that time limits
//! are counted in, and the way from bytes to a [`Module`].

mod cache;
mod isolated;
mod random;
mod rest;
mod written;

pub use cache::{CacheLimits, touch_cached, trim_cache};

use crate::{
    FunctionCode, LoadError, Module, Names,
    abi::{chain, imports::Imports},
    module::functions,
};
use cache::Cache;
use isolated::Isolated;
pub(crate) use isolated::PLACES;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_abi::{AbiVersion, LogLevel};
pub(crate) use written::Pages;

/// Stack that a guest may use. Threads that run instances need some more than this.
const STACK_BYTES: usize = 1 << 20;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where compiled code is kept; none: nowhere. The folder must belong to this user alone,
    /// since code from it is run; it is made if it does not exist.
    pub cache_dir: Option<PathBuf>,
    /// How often the caller will call [`Engine::tick`]; time limits are as exact as this.
    pub epoch_tick: Duration,
}

/// Compiles and runs modules. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasm: wasmtime::Engine,
    imports: [Imports; 3],
    /// For instances from images; made for the first of them.
    isolated: OnceLock<Result<Isolated, String>>,
    /// Stands before guests; none if it cannot be compiled.
    chains: [OnceLock<Option<wasmtime::Module>>; 2],
    thread_time: OnceLock<fn() -> Option<Duration>>,
    node: OnceLock<String>,
    log_level: OnceLock<fn() -> LogLevel>,
    ticks: AtomicU64,
    rest: rest::Rest,
    epoch_tick: Duration,
    cache: Option<Cache>,
    random: fn(&mut [u8]),
    /// Instances count what they do.
    measures: bool,
}

impl Engine {
    /// An engine with randomness from the operating system.
    ///
    /// # Errors
    /// When the cache folder is not safe or cannot be made.
    pub fn new(options: EngineOptions) -> Result<Self, LoadError> {
        Self::with_random(options, random::system)
    }

    /// An engine whose guests get their random bytes from `random`, so that runs can be repeated.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn with_random(options: EngineOptions, random: fn(&mut [u8])) -> Result<Self, LoadError> {
        Self::with_settings(&settings(), options, random)
    }

    /// An engine whose instances count what they do, see [`crate::Instance::usage`]. They are slower by that, and
    /// their compiled code is not kept. Random bytes are zeros, so that each run does the same.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn measuring() -> Result<Self, LoadError> {
        let options = EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(5) };
        let mut engine = Self::with_settings(settings().consume_fuel(true), options, |bytes| bytes.fill(0))?;
        if let Some(inner) = Arc::get_mut(&mut engine.inner) {
            inner.measures = true;
        }
        Ok(engine)
    }

    fn with_settings(
        settings: &wasmtime::Config,
        options: EngineOptions,
        random: fn(&mut [u8]),
    ) -> Result<Self, LoadError> {
        let wasm =
            wasmtime::Engine::new(settings).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let imports = link(&wasm).map_err(LoadError::Engine)?;
        let cache = options.cache_dir.map(|folder| Cache::open(folder, &wasm)).transpose()?;
        let inner = Inner {
            wasm,
            imports,
            isolated: OnceLock::new(),
            chains: Default::default(),
            thread_time: OnceLock::new(),
            node: OnceLock::new(),
            log_level: OnceLock::new(),
            ticks: AtomicU64::new(0),
            rest: rest::Rest::default(),
            epoch_tick: options.epoch_tick.max(Duration::from_micros(100)),
            cache,
            random,
            measures: false,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Lets one `epoch_tick` of time pass for all guests that run. To be called by a thread of its
    /// own; without it no time limit holds. It is only needed while guests run; see [`Engine::may_rest`].
    pub fn tick(&self) {
        self.inner.ticks.fetch_add(1, Ordering::Relaxed);
        self.inner.wasm.increment_epoch();
        if let Some(Ok(isolated)) = self.inner.isolated.get() {
            isolated.wasm().increment_epoch();
        }
    }

    /// Has guests that are over their time looked at with this: how long the calling thread was on a CPU so far. A call
    /// that was kept from the CPU is then not taken for one that does not end. Set once.
    pub fn measure_threads(&self, thread_time: fn() -> Option<Duration>) {
        // A second one is of no use; the first stays.
        let _ = self.inner.thread_time.set(thread_time);
    }

    /// The name of the machine, or whatever the gateway is known by; guests read it as `xds.node.id`. Set once.
    pub fn name_node(&self, name: String) {
        // A second one is of no use; the first stays.
        let _ = self.inner.node.set(name);
    }

    /// Asks this for the least level of guests' log lines, whenever one is written; plugins may have their own
    /// ([`crate::Plugin::set_log_level`]). Set once.
    pub fn ask_log_level(&self, level: fn() -> LogLevel) {
        // A second one is of no use; the first stays.
        let _ = self.inner.log_level.set(level);
    }

    /// The least level of log lines; `Info` where nobody is asked.
    pub(crate) fn log_level(&self) -> LogLevel {
        self.inner.log_level.get().map_or(LogLevel::Info, |level| level())
    }

    /// The name that was set; empty if none was.
    pub(crate) fn node(&self) -> &str {
        self.inner.node.get().map_or("", String::as_str)
    }

    /// How long this thread was on a CPU, if that is known.
    pub(crate) fn thread_time(&self) -> Option<Duration> {
        self.inner.thread_time.get().and_then(|measure| measure())
    }

    /// Checks and compiles a module, or takes the compiled code from the cache. May take seconds of
    /// CPU for a large module, so not to be called on a worker.
    ///
    /// # Errors
    /// When the bytes are not a module that can be a proxy-wasm filter.
    pub fn compile(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        check_frame(wasm)?;
        let digest = hex(&Sha256::digest(wasm));
        let (code, kept) = self.code(wasm, &digest)?;
        let module = Module::check(code.clone(), digest, |abi| self.imports(abi))?;
        if !kept {
            self.keep(&code, module.digest());
        }
        Ok(module)
    }

    /// The compiled code of a module, and whether it is from the cache.
    fn code(&self, wasm: &[u8], digest: &str) -> Result<(wasmtime::Module, bool), LoadError> {
        let cache = self.inner.cache.as_ref();
        if let Some(code) = cache.and_then(|cache| cache.load(&self.inner.wasm, digest)) {
            return Ok((code, true));
        }
        let code = wasmtime::Module::new(&self.inner.wasm, wasm).map_err(|error| refused(wasm, &error))?;
        Ok((code, false))
    }

    fn keep(&self, code: &wasmtime::Module, digest: &str) {
        if let Some(cache) = &self.inner.cache
            && let Ok(compiled) = code.serialize()
        {
            cache.store(digest, &compiled);
        }
    }

    /// The module that calls several callbacks of a guest as one, for guests with or without callbacks for responses.
    pub(crate) fn chain(&self, responds: bool) -> Option<&wasmtime::Module> {
        let compile = || {
            let wasm = chain::module(responds);
            let digest = hex(&Sha256::digest(&wasm));
            let (code, kept) = self.code(&wasm, &digest).ok()?;
            if !kept {
                self.keep(&code, &digest);
            }
            Some(code)
        };
        let [without, with] = &self.inner.chains;
        if responds { with } else { without }.get_or_init(compile).as_ref()
    }

    /// Where the machine code is by which several callbacks of a guest are called as one, as [`Module::functions`] tells of
    /// theirs; nothing before the first guest for which there is such.
    #[must_use]
    pub fn functions(&self) -> Vec<FunctionCode> {
        self.inner.chains.iter().filter_map(|chain| chain.get()?.as_ref()).flat_map(functions).collect()
    }

    /// Whether modules of this version of the ABI may import a function.
    #[must_use]
    pub fn offers(&self, abi: AbiVersion, module: &str, name: &str) -> bool {
        self.imports(abi).has(module, name)
    }

    /// A module whose guests may call these host functions only.
    pub(crate) fn restrict(&self, module: &Module, allowed: &Names) -> Result<Module, LoadError> {
        module.restricted(self.imports(module.abi()), allowed)
    }

    /// Compiles an image for the engine of isolated instances. Nothing of it is kept on disk: it may hold secrets.
    pub(crate) fn compile_image(
        &self,
        wasm: &[u8],
        digest: &str,
        allowed: Option<&Names>,
    ) -> Result<Module, LoadError> {
        let isolated = self.inner.isolated.get_or_init(Isolated::open).as_ref();
        let isolated = isolated.map_err(|problem| LoadError::Engine(problem.clone()))?;
        let code = wasmtime::Module::new(isolated.wasm(), wasm)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let module = Module::check(code, digest.to_owned(), |abi| by_version(isolated.imports(), abi))?;
        match allowed {
            Some(allowed) => module.restricted(by_version(isolated.imports(), module.abi()), allowed),
            None => Ok(module),
        }
    }

    /// What was written in the memories of isolated instances; none where the kernel does not tell, and while their
    /// places become scarce.
    pub(crate) fn pages(&self) -> Option<&Pages> {
        self.inner.isolated.get()?.as_ref().ok()?.pages()
    }

    #[cfg(test)]
    fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.inner.wasm
    }

    /// Ticks so far, when a call begins.
    #[inline]
    pub(crate) fn begin_call(&self) -> u64 {
        self.rouse();
        self.ticks()
    }

    /// Ticks so far.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        self.inner.ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn epoch_tick(&self) -> Duration {
        self.inner.epoch_tick
    }

    /// The number of ticks that surely cover `limit`: a call may begin just before a tick.
    pub(crate) fn ticks_for(&self, limit: Duration) -> u64 {
        let ticks = limit.as_nanos().div_ceil(self.inner.epoch_tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX / 2).clamp(1, u64::MAX / 2) + 1
    }

    /// Whether instances count what they do.
    pub(crate) fn measures(&self) -> bool {
        self.inner.measures
    }

    pub(crate) fn random(&self, bytes: &mut [u8]) {
        (self.inner.random)(bytes);
    }

    pub(crate) fn imports(&self, abi: AbiVersion) -> &Imports {
        by_version(&self.inner.imports, abi)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("epoch_tick", &self.inner.epoch_tick).finish_non_exhaustive()
    }
}

/// The host functions of each version of the ABI.
fn link(wasm: &wasmtime::Engine) -> Result<[Imports; 3], String> {
    let imports = |abi| Imports::link(wasm, abi).map_err(|error| format!("host functions: {error:#}"));
    let [first, second, third] = AbiVersion::ALL;
    Ok([imports(first)?, imports(second)?, imports(third)?])
}

fn by_version(imports: &[Imports; 3], abi: AbiVersion) -> &Imports {
    let [first, second, third] = imports;
    match abi {
        AbiVersion::V0_1_0 => first,
        AbiVersion::V0_2_0 => second,
        AbiVersion::V0_2_1 => third,
    }
}

/// The defaults for memories (4 GiB of address space and guard pages) stay: they make bounds checks
/// unnecessary.
fn settings() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .memory_init_cow(true)
        .parallel_compilation(true)
        .cranelift_opt_level(wasmtime::OptLevel::Speed)
        // Read when a guest breaks off, and only then.
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
    config
}

/// Recognises the commonest mistakes before the compiler does, in words that help.
fn check_frame(wasm: &[u8]) -> Result<(), LoadError> {
    const START: [u8; 8] = *b"\0asm\x01\0\0\0";
    let start = wasm.get(..START.len()).unwrap_or(wasm);
    if start == START {
        Ok(())
    } else if !wasm.is_empty() && START.starts_with(start) {
        Err(LoadError::Truncated { len: wasm.len(), problem: "inside of the header".into() })
    } else {
        Err(LoadError::NotWasm { start: start.to_vec() })
    }
}

fn refused(wasm: &[u8], error: &wasmtime::Error) -> LoadError {
    let problem = format!("{error:#}");
    if problem.contains("unexpected end") || problem.contains("out of bounds") && problem.contains("section")
    {
        LoadError::Truncated { len: wasm.len(), problem }
    } else {
        LoadError::Invalid(problem)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
