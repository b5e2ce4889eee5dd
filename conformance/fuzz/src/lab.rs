//! One engine with a neighbour in it, and strangers that are run beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use tidegate_wasm::{
    Engine, EngineOptions, Instance, Limits, Module, Now, Plugin, PluginSpec, Shared, Step, StreamInfo,
};

use crate::drive::Drive;
use crate::random::Random;
use crate::{hostile, script};

pub(crate) const NOW: Now = Now::new(Duration::from_secs(7), Duration::from_secs(1_000_000_000));

/// How long a callback of the neighbour may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What only the neighbour knows.
const SECRET: &str = "what-only-the-neighbour-knows";

/// How far a stranger came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no module, or the host refused it.
    Refused,
    /// It did not start.
    NotStarted,
    /// It broke off.
    Trapped,
    /// It came to its end.
    Ended,
}

/// An engine with a neighbour.
pub struct Lab {
    engine: Engine,
    shared: Arc<Shared>,
    hostile: Module,
    neighbour: Instance,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").finish_non_exhaustive()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Starts the neighbour, and a thread that lets time limits pass.
    ///
    /// # Panics
    /// If the guests of this crate are wrong.
    pub fn new() -> Self {
        let epoch_tick = Duration::from_millis(1);
        let engine = Engine::new(EngineOptions { cache_dir: None, epoch_tick }).unwrap();
        let shared = Arc::new(Shared::new());
        let hostile = engine.compile(&wat::parse_str(hostile::module()).unwrap()).unwrap();
        let module = engine.compile(&wat::parse_str(NEIGHBOUR).unwrap()).unwrap();
        // It never works for long, so what its calls take is what the machine does besides.
        let limits =
            Limits { memory: 8 << 20, call_time: PATIENCE, request_time: PATIENCE, ..Limits::default() };
        let plugin = plugin(&engine, &shared, "neighbour", module, SECRET.as_bytes().to_vec(), limits);
        let neighbour = Instance::start(&plugin.unwrap(), NOW).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (ticks, stopped) = (engine.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(epoch_tick);
                ticks.tick();
            }
        });
        Self { engine, shared, hostile, neighbour, stop }
    }

    /// Runs the hostile guest with the script of a seed.
    ///
    /// # Panics
    /// If the neighbour notices, or the guest sees what it must not.
    pub fn hostile(&mut self, seed: u64) -> Outcome {
        let mut random = Random::new(seed);
        let script = script::script(&mut random);
        let module = self.hostile.clone();
        self.run(module, script, &mut random)
    }

    /// Runs the hostile guest with the script of a seed in an instance for each request that is used again.
    ///
    /// # Panics
    /// If anything of a request is left for the next, the neighbour notices, or the guest sees what it must not.
    pub fn hostile_anew(&mut self, seed: u64) -> Anew {
        let mut random = Random::new(seed);
        let script = script::script(&mut random);
        let wasm = wat::parse_str(hostile::module()).unwrap();
        self.anew(self.hostile.clone(), &wasm, script, &mut random)
    }

    /// As [`Lab::hostile_anew`] with a module as it is.
    ///
    /// # Panics
    /// See there.
    pub fn module_anew(&mut self, wasm: &[u8]) -> Anew {
        match self.engine.compile(wasm) {
            Ok(module) => self.anew(module, wasm, Vec::new(), &mut Random::new(1)),
            Err(_) => Anew::default(),
        }
    }

    fn anew(&mut self, module: Module, wasm: &[u8], config: Vec<u8>, random: &mut Random) -> Anew {
        let mut anew = Anew::default();
        let limits = Limits { memory: 8 << 20, ..Limits::default() };
        let plugin = plugin(&self.engine, &self.shared, "stranger", module, config, limits);
        if let Some(plugin) = plugin.filter(|plugin| plugin.take_image(wasm, NOW).is_ok()) {
            for _ in 0..3 {
                requests(&plugin, random, &mut anew);
            }
        }
        self.ask_the_neighbour();
        anew
    }

    /// Runs a module as it is, or, with a seed, with some of its bytes broken.
    ///
    /// # Panics
    /// If the neighbour notices, or the guest sees what it must not.
    pub fn module(&mut self, wasm: &[u8], broken: Option<u64>) -> Outcome {
        let mut random = Random::new(broken.unwrap_or_default());
        let mut wasm = wasm.to_vec();
        for _ in 0..broken.map_or(0, |_| 1 + random.below(8)) {
            let at = random.below(wasm.len());
            wasm[at] = random.next().to_le_bytes()[0];
        }
        match self.engine.compile(&wasm) {
            Ok(module) => self.run(module, Vec::new(), &mut random),
            Err(_) => Outcome::Refused,
        }
    }

    fn run(&mut self, module: Module, config: Vec<u8>, random: &mut Random) -> Outcome {
        let outcome = self.stranger(module, config, random);
        self.ask_the_neighbour();
        outcome
    }

    fn stranger(&mut self, module: Module, config: Vec<u8>, random: &mut Random) -> Outcome {
        let limits = Limits { memory: 8 << 20, ..Limits::default() };
        let Some(plugin) = plugin(&self.engine, &self.shared, "stranger", module, config, limits) else {
            return Outcome::Refused;
        };
        let Ok(mut instance) = Instance::start(&plugin, NOW) else { return Outcome::NotStarted };
        let mut drive = Drive::new(&mut instance, random);
        drive.all();
        let told = drive.seen.iter().any(|seen| seen.contains(SECRET));
        assert!(!told, "the stranger has told what only the neighbour knows");
        let most = plugin.spec().limits.memory;
        assert!(instance.memory_bytes() <= most, "{} bytes of {most}", instance.memory_bytes());
        if instance.poisoned().is_some() { Outcome::Trapped } else { Outcome::Ended }
    }

    /// The neighbour serves a request as ever.
    fn ask_the_neighbour(&mut self) {
        let info = StreamInfo::new(([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 80).into(), Version::HTTP_11);
        let id = self.neighbour.open_stream(info, NOW);
        let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let step = self.neighbour.on_request_headers(id, head, true, NOW);
        assert_eq!(step.unwrap(), Step::Continue);
        let head = self.neighbour.take_request_head(id).unwrap();
        assert_eq!(head.headers["x-own"], SECRET, "its shared data is as it was");
        self.neighbour.close_stream(id, NOW);
        while self.neighbour.poll_effect().is_some() {}
    }
}

/// How often an instance that had served was made what it was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Anew {
    /// As often as that.
    pub made: u64,
    /// It could not be: it broke off, grew, or wrote much.
    pub given_up: u64,
}

/// Serves requests with one instance until it cannot be used any more.
fn requests(plugin: &Arc<Plugin>, random: &mut Random, anew: &mut Anew) {
    let Ok(mut instance) = Instance::isolated(plugin, NOW) else { return };
    let first = instance.holdings();
    for _ in 0..4 {
        Drive::new(&mut instance, random).one();
        if !instance.begin_anew() {
            anew.given_up += 1;
            return;
        }
        anew.made += 1;
        let now = instance.holdings();
        assert!(now.memory == first.memory, "memory of the request before");
        assert_eq!(now.globals, first.globals, "globals of the request before");
        let left =
            (instance.streams(), instance.open_calls(), instance.has_effects(), instance.tick_period());
        assert_eq!(left, (0, 0, false, None), "the host's part of the request before");
    }
    let Ok(mut other) = Instance::isolated(plugin, NOW) else { return };
    assert!(instance.holdings().memory == other.holdings().memory, "a fresh one holds something else");
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn plugin(
    engine: &Engine,
    shared: &Arc<Shared>,
    name: &str,
    module: Module,
    config: Vec<u8>,
    limits: Limits,
) -> Option<Arc<Plugin>> {
    let spec = PluginSpec {
        name: name.to_owned(),
        root_id: String::new(),
        vm_id: String::new(),
        module,
        config: Bytes::from(config),
        vm_config: Bytes::new(),
        environment: vec![("A".to_owned(), "b".to_owned())],
        limits,
        callable: vec!["auth".to_owned()],
        capabilities: tidegate_wasm::Capabilities::default(),
        on_headers_pause: tidegate_wasm::HeadersPause::default(),
    };
    Plugin::build(engine, spec, Arc::clone(shared)).ok().map(Arc::new)
}

/// Keeps its configuration in shared data under `k`, and writes it into each request.
const NEIGHBOUR: &str = r#"(module
(import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
(memory (export "memory") 2)
(data (i32.const 64) "kx-own")
(func (export "proxy_abi_version_0_2_1"))
(func (export "malloc") (param i32) (result i32) (i32.const 0x8000))
(func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $buffer (i32.const 7) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 4)))
    (i32.eqz (call $set (i32.const 64) (i32.const 1) (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.const 0))))
(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 8)))
    (call $add (i32.const 0) (i32.const 65) (i32.const 5) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
"#;
