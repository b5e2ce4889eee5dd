//! The machine code of guests that run, for profiles.

use super::Gateway;
use crate::filter::entry::Plugin;
use tidegate_wasm::{Engine, FunctionCode, Module};

/// A function of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCode {
    /// The plugin.
    pub plugin: String,
    /// As the module calls it.
    pub function: String,
    /// Its first address.
    pub start: usize,
    /// The address behind it.
    pub end: usize,
}

impl Gateway {
    /// All functions of the plugins that were published last. Addresses say nothing once their module is gone.
    pub fn guest_code(&self) -> Vec<GuestCode> {
        let Some(snapshot) = self.snapshot() else { return Vec::new() };
        let engine = snapshot.plugins.iter().find_map(|plugin| Some(plugin.plugin.as_ref()?.engine()));
        let shared = engine.into_iter().flat_map(Engine::functions).map(|code| named(OWN, code));
        snapshot.plugins.iter().flat_map(of).chain(shared).collect()
    }
}

/// Instead of a plugin's name, for what stands before the guests of all of them.
const OWN: &str = "(all)";

fn of(plugin: &Plugin) -> Vec<GuestCode> {
    let Some(built) = &plugin.plugin else { return Vec::new() };
    let image = built.image().map(tidegate_wasm::Image::module);
    let functions = std::iter::once(built.module()).chain(image).flat_map(Module::functions);
    functions.map(|code| named(&plugin.name, code)).collect()
}

fn named(plugin: &str, code: FunctionCode) -> GuestCode {
    GuestCode { plugin: plugin.to_owned(), function: code.name, start: code.start, end: code.end }
}
