//! Runs a filter's built module in the gateway's own host, in the test's process. [`Wasm`] is a
//! [`Machine`], so the tests that run a filter natively run it as Wasm too; see [`gateway`].

mod convert;
mod wasm;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidegate_sdk_test::{Gateway, Machine, Refused, Ways};
use tidegate_wasm::{Engine, EngineOptions, Module};

pub use wasm::Wasm;

/// A gateway whose filter is a module; `upstreams` are those that it may call.
///
/// # Errors
/// When the module cannot be read or run, or refuses its configuration.
pub fn gateway(module: &Path, config: &str, upstreams: &[&str], ways: Ways) -> Result<Gateway<()>, Refused> {
    let loaded = load(module);
    let config = config.to_owned();
    let upstreams: Vec<String> = upstreams.iter().map(|name| (*name).to_owned()).collect();
    let make = move |_feeds| {
        let module = loaded.clone()?;
        let wasm = Wasm::start(&module, &config, &upstreams)?;
        Ok(Box::new(wasm) as Box<dyn Machine>)
    };
    Gateway::of(make, ways)
}

/// Compiles a module, once in a process.
fn load(path: &Path) -> Result<Module, String> {
    static LOADED: Mutex<BTreeMap<PathBuf, Result<Module, String>>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.entry(path.to_owned()).or_insert_with(|| compile(path)).clone()
}

fn compile(path: &Path) -> Result<Module, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    engine()?.compile(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// One engine for all tests of a process.
pub(crate) fn engine() -> Result<&'static Engine, String> {
    static ENGINE: OnceLock<Arc<Result<Engine, String>>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let options = EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(5) };
        Arc::new(Engine::new(options).map_err(|error| error.to_string()))
    });
    engine.as_ref().as_ref().map_err(Clone::clone)
}
