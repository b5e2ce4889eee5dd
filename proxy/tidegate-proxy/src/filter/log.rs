//! Plugins that only log: they are shown what is over, on no path that anything waits for.

use std::rc::Rc;

use tidegate_config::plan::PluginIndex;
use tidegate_wasm::{Ended, StreamInfo};

use crate::filter::plugins::Slot;

/// Shows each of the plugins what has ended. One that is away or breaks off misses it; the others do not.
pub(crate) fn tell(slots: &[Rc<Slot>], plugins: &[PluginIndex], info: &StreamInfo, ended: &Ended<'_>) {
    for slot in plugins.iter().filter_map(|plugin| slots.get(*plugin)) {
        slot.count_stream();
        let Ok(host) = slot.host() else { continue };
        // A trap was counted and logged, and the instance is replaced.
        _ = host.call(|instance, now| instance.on_ended(info.clone(), ended, now));
    }
}
