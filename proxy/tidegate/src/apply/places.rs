//! Plugins in places where none of their callbacks is ever called.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_config::plan::{Filter, Plan, PluginIndex};
use tidegate_wasm::Plugin;

/// A plugin in a wrong place: where, what is wrong, what would be right.
pub(super) struct Misplaced {
    pub(super) path: String,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// Plugins for requests before listeners of bytes, and plugins for connections before HTTP ones.
pub(super) fn misplaced(plan: &Plan, plugins: &HashMap<String, Arc<Plugin>>) -> Vec<Misplaced> {
    let mut found = Vec::new();
    for (index, listener) in plan.listeners.iter().enumerate() {
        let place = Place { plan, plugins, http: listener.protocol.is_http() };
        place.look(&format!("listeners[{index}].filters"), &listener.filters, &mut found);
    }
    for (index, route) in plan.routes.iter().enumerate() {
        let first = route.listeners.first().and_then(|listener| plan.listeners.get(*listener));
        let http = first.is_none_or(|listener| listener.protocol.is_http());
        let place = Place { plan, plugins, http };
        for (rule, own) in route.rules.iter().enumerate() {
            place.look(&format!("routes[{index}].rules[{rule}].filters"), &own.filters, &mut found);
        }
    }
    found
}

struct Place<'a> {
    plan: &'a Plan,
    plugins: &'a HashMap<String, Arc<Plugin>>,
    /// Whether requests come here, else connections.
    http: bool,
}

impl Place<'_> {
    fn look(&self, path: &str, filters: &[Filter], found: &mut Vec<Misplaced>) {
        for (index, filter) in filters.iter().enumerate() {
            if let Filter::Plugin(plugin) = filter
                && let Some((message, hint)) = self.fault(*plugin)
            {
                found.push(Misplaced { path: format!("{path}[{index}]"), message, hint });
            }
        }
    }

    fn fault(&self, plugin: PluginIndex) -> Option<(String, &'static str)> {
        let spec = self.plan.plugins.get(plugin)?;
        let plugin = self.plugins.get(&spec.key)?;
        match (self.http, plugin.serves_requests(), plugin.serves_connections()) {
            (true, false, true) => Some((
                format!(
                    "the plugin \"{}\" has callbacks for connections only, and here come requests",
                    spec.name
                ),
                "it belongs to a listener with the protocol tcp or tls",
            )),
            (false, true, false) => Some((
                format!(
                    "the plugin \"{}\" has callbacks for requests only, and here come connections",
                    spec.name
                ),
                "it belongs to a listener with the protocol http or https",
            )),
            _ => None,
        }
    }
}
