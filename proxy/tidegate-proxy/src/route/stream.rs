//! The routes of a listener of bytes: by the name that a client asks for by TLS, if there is one.

use tidegate_config::plan::{ListenerIndex, Plan};

use super::host::{HostKey, HostTable, intersect};

/// Which rule a connection is for.
#[derive(Debug)]
pub(crate) struct StreamTable {
    hosts: HostTable<usize>,
}

impl StreamTable {
    /// The routes that `plan` has for a listener.
    pub(crate) fn build(plan: &Plan, listener: ListenerIndex) -> Self {
        let served = plan.listeners.get(listener).map_or(&[][..], |own| &own.hostnames);
        let mut entries: Vec<(HostKey, usize)> = Vec::new();
        let mut first_id = 0;
        for route in &plan.routes {
            if route.listeners.contains(&listener) && !route.rules.is_empty() {
                for host in intersect(&route.hostnames, served) {
                    // The first one of equals.
                    if entries.iter().all(|(known, _)| *known != host) {
                        entries.push((host, first_id));
                    }
                }
            }
            first_id += route.rules.len();
        }
        Self { hosts: HostTable::new(entries) }
    }

    /// The dense number of the rule for a connection; `name` is empty where the client named no host.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.hosts.find(name, |rule| Some(*rule))
    }
}
