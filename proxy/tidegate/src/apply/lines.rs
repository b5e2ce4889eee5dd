//! The lines of what is found wrong after the document was read: in files that it names, in plugins.

use std::path::PathBuf;

use tidegate_config::Places;
use tidegate_config::plan::{Filter, Plan};
use tidegate_proxy::BuildError;

use super::Outcome;

impl Outcome {
    /// All problems with the lines of their places.
    pub(super) fn with_lines(mut self, places: &Places) -> Self {
        let problems = match &mut self {
            Outcome::Ready(ready) => &mut ready.warnings,
            Outcome::Refused(problems) => problems,
            Outcome::Unchanged => return self,
        };
        *problems = std::mem::take(problems).into_iter().map(|problem| places.with_line(problem)).collect();
        self
    }
}

/// Where the plugin with this key gets its settings: itself, its other version, or the filter that has its own.
pub(super) fn of_plugin(plan: &Plan, key: &str) -> String {
    if let Some(other) = key.strip_suffix("@canary") {
        return format!("{}.canary", of_plugin(plan, other));
    }
    let is = |filter: &Filter| match filter {
        Filter::Plugin(index) => plan.plugins.get(*index).is_some_and(|plugin| plugin.key == key),
        _ => false,
    };
    let at = |filters: &[Filter]| filters.iter().position(is);
    let listeners = plan.listeners.iter().enumerate();
    let mut listeners = listeners
        .filter_map(|(index, own)| Some(format!("listeners[{index}].filters[{}]", at(&own.filters)?)));
    let rules = plan
        .routes
        .iter()
        .enumerate()
        .flat_map(|(route, own)| own.rules.iter().enumerate().map(move |(rule, own)| (route, rule, own)));
    let mut rules = rules.filter_map(|(route, rule, own)| {
        Some(format!("routes[{route}].rules[{rule}].filters[{}]", at(&own.filters)?))
    });
    let filter = key.contains('@').then(|| listeners.next().or_else(|| rules.next())).flatten();
    filter.unwrap_or_else(|| format!("plugins.{key}"))
}

/// The setting of the plugin here that it names in what it logged last; else the plugin.
pub(super) fn of_setting(has: impl Fn(&str) -> bool, plugin: String, why: &str) -> String {
    let log = why.split_once("last log lines: ").map_or("", |(_, log)| log);
    let settings = log.rsplit(" | ").filter_map(|line| line.split_once(": ")).map(|(setting, _)| setting);
    let mut settings = settings.filter(|setting| setting.starts_with("config"));
    settings
        .find_map(|setting| Some(format!("{plugin}.{setting}")).filter(|place| has(place)))
        .unwrap_or(plugin)
}

/// The place of a file that cannot be used; `named` has those of all files.
pub(super) fn of_file(named: &[(String, PathBuf)], error: &BuildError) -> Option<String> {
    let (BuildError::Tls { path, .. } | BuildError::Missing { path }) = error else { return None };
    named.iter().find(|(_, named)| named == path).map(|(at, _)| at.clone())
}

#[cfg(test)]
mod tests {
    use super::of_setting;

    #[test]
    fn a_plugin_that_names_a_setting_is_told_there() {
        let written = ["plugins.auth.config", "plugins.auth.config.ways[0].name"];
        let told = |why: &str| of_setting(|place| written.contains(&place), "plugins.auth".to_owned(), why);
        let refused = "proxy_on_configure answered false; last log lines: ";
        for (why, place) in [
            ("hello | config.ways[0].name: unknown", "plugins.auth.config.ways[0].name"),
            ("config: no way", "plugins.auth.config"),
            ("config.gone: missing", "plugins.auth"),
            ("nothing to say", "plugins.auth"),
        ] {
            assert_eq!(told(&format!("{refused}{why}")), place, "{why}");
        }
        assert_eq!(told("not a WebAssembly module"), "plugins.auth");
    }
}
