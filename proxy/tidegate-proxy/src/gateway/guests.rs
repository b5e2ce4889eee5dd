//! The machine code of guests that run, for profiles.

use super::Gateway;
use crate::filter::entry::Plugin;

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
        snapshot.plugins.iter().flat_map(of).collect()
    }
}

fn of(plugin: &Plugin) -> Vec<GuestCode> {
    let Some(built) = &plugin.plugin else { return Vec::new() };
    let image = built.image().map(tidegate_wasm::Image::module);
    let functions = std::iter::once(built.module()).chain(image).flat_map(tidegate_wasm::Module::functions);
    let one = |code: tidegate_wasm::FunctionCode| GuestCode {
        plugin: plugin.name.to_string(),
        function: code.name,
        start: code.start,
        end: code.end,
    };
    functions.map(one).collect()
}
