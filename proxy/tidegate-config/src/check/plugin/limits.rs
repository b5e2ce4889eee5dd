//! `limits` of a plugin, and of one of its uses, which can only narrow them.

use crate::check::Check;
use crate::document::PluginLimitsDocument;
use crate::node::Path;
use crate::plan::PluginLimits;
use crate::problem::Fault;
use std::fmt::{Debug, Display};
use std::time::Duration;

/// Memory that a module has at least: one page.
const MEMORY_LEAST: u64 = 64 << 10;
/// Memory that a module can have at most: all that 32 bits reach.
const MEMORY_MOST: u64 = 4 << 30;

/// What the host keeps of one body at most.
const HELD_MOST: u64 = 64 << 20;

/// The limits of a plugin.
pub(super) fn limits(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&PluginLimitsDocument>,
) -> PluginLimits {
    written.map_or_else(PluginLimits::default, |written| read(check, path, written, PluginLimits::default()))
}

/// The limits of the plugin `name` as one of its uses narrows them.
pub(super) fn narrow(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PluginLimitsDocument,
    (name, own): (&str, PluginLimits),
) -> PluginLimits {
    let narrowed = read(check, path, written, own);
    let mut wider = Wider { check, path, name };
    wider.time("callTime", narrowed.call_time, own.call_time);
    wider.time("requestTime", narrowed.request_time, own.request_time);
    wider.bytes("memory", narrowed.memory, own.memory);
    wider.count("instances", narrowed.instances, own.instances);
    wider.count("callHostCalls", narrowed.call_host_calls, own.call_host_calls);
    wider.count("requestHostCalls", narrowed.request_host_calls, own.request_host_calls);
    wider.bytes("copiedBytes", narrowed.copied_bytes, own.copied_bytes);
    wider.count("openCalls", narrowed.open_calls, own.open_calls);
    wider.count("logLines", narrowed.log_lines, own.log_lines);
    wider.bytes("heldBody", narrowed.held_body, own.held_body);
    if written.rebuild_above.is_some() {
        wider.bytes("rebuildAbove", narrowed.rebuild_above, own.rebuild_above);
    }
    narrowed
}

/// What is written, the rest as in `default`.
fn read(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PluginLimitsDocument,
    default: PluginLimits,
) -> PluginLimits {
    let memory = written.memory.map_or(default.memory, |memory| {
        if !(MEMORY_LEAST..=MEMORY_MOST).contains(&memory.0) {
            let fault = Fault::new(format!("a module cannot work with {} bytes of memory", memory.0));
            check.fault(&path.key("memory"), fault.hint("64KiB to 4GiB"));
        }
        size(memory.0)
    });
    if written.copied_bytes.is_some_and(|bytes| bytes.0 == 0) {
        let fault = Fault::new("a module cannot work without a byte");
        check.fault(&path.key("copiedBytes"), fault.hint("for instance 16MiB"));
    }
    if let Some(held) = written.held_body.filter(|held| held.0 > HELD_MOST) {
        let fault = Fault::new(format!("a module cannot hold back {} bytes", held.0));
        check.fault(&path.key("heldBody"), fault.hint("at most 64MiB"));
    }
    let usual = PluginLimits::rebuilt_above(memory);
    // What follows from the memory does so again for another one.
    let follows = default.rebuild_above == PluginLimits::rebuilt_above(default.memory);
    let above = if follows { usual } else { default.rebuild_above.min(usual) };
    let above = if memory == default.memory { default.rebuild_above } else { above };
    let number = |written: Option<u32>, default: usize| written.map_or(default, |number| number as usize);
    PluginLimits {
        call_time: check.positive(&path.key("callTime"), written.call_time, default.call_time),
        request_time: check.positive(&path.key("requestTime"), written.request_time, default.request_time),
        memory,
        instances: number(written.instances, default.instances),
        call_host_calls: written.call_host_calls.unwrap_or(default.call_host_calls),
        request_host_calls: written.request_host_calls.unwrap_or(default.request_host_calls),
        copied_bytes: written.copied_bytes.map_or(default.copied_bytes, |bytes| bytes.0),
        open_calls: number(written.open_calls, default.open_calls),
        log_lines: written.log_lines.unwrap_or(default.log_lines),
        held_body: written.held_body.map_or(default.held_body, |bytes| size(bytes.0)),
        rebuild_above: written.rebuild_above.map_or(above, |bytes| size(bytes.0)),
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Reports limits that are wider than the plugin's own.
struct Wider<'a, 'b> {
    check: &'a mut Check<'b>,
    path: &'a Path<'a>,
    name: &'a str,
}

impl Wider<'_, '_> {
    fn time(&mut self, key: &str, here: Duration, own: Duration) {
        let show = |time: Duration| format!("{time:?}");
        self.look(key, here > own, show(here), show(own));
    }

    fn bytes<T: PartialOrd + Display>(&mut self, key: &str, here: T, own: T) {
        let show = |bytes: &T| format!("{bytes} bytes");
        self.look(key, here > own, show(&here), show(&own));
    }

    fn count<T: PartialOrd + Debug>(&mut self, key: &str, here: T, own: T) {
        self.look(key, here > own, format!("{here:?}"), format!("{own:?}"));
    }

    fn look(&mut self, key: &str, wider: bool, here: String, own: String) {
        if wider {
            let fault = Fault::new(format!(
                "{here} is wider than the limit of the plugin {:?}, which is {own}",
                self.name
            ));
            self.check.fault(
                &self.path.key(key),
                fault.hint("a use can only narrow a limit: raise the plugin's own, or take less"),
            );
        }
    }
}
