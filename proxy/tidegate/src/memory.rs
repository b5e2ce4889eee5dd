//! Memory that runs out: the gateway refuses what is new before the kernel ends it with all that is under way.
//!
//! The gateway looks at its resident memory ten times a second, on the control thread; workers are told when that
//! passes the limit and when it is well below again.
//!
//! One call is unsafe: the allocator's own for giving back what is free, which its crate has no safe form of. It takes and
//! returns nothing that could be wrong, may be called by any thread at any time, and touches only what is not in use.

#![expect(unsafe_code, reason = "mi_collect: see the head of this file")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::Memory;
use tidegate_proxy::Gateway;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::status::Status;

/// Between two looks.
const ROUND: Duration = Duration::from_millis(100);
/// Looks after which the limits of control groups, which may change, are read again.
const ROUNDS: u32 = 100;
/// What is new is served again when this part of the limit is free.
const FREE: u64 = 20;

/// What is known of the process's memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryState {
    wanted: Cell<Memory>,
    limit: Cell<Option<u64>>,
    full: Cell<bool>,
}

impl MemoryState {
    /// The configuration's limit from here on.
    pub(crate) fn want(&self, wanted: Memory) {
        self.wanted.set(wanted);
        self.limit.set(limit(wanted, usable()));
    }

    /// Resident bytes above which new requests are refused; none: there is no limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit.get()
    }

    /// Whether new requests are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.full.get()
    }

    /// Looks at what is resident now; true: it has changed whether that is too much.
    fn look(&self, resident: Option<u64>) -> bool {
        let full = resident.zip(self.limit.get()).is_some_and(|(resident, limit)| {
            let mark = if self.full.get() { limit - limit / FREE } else { limit };
            resident >= mark
        });
        self.full.replace(full) != full
    }
}

/// Watches over the memory of the process until the gateway ends.
pub(crate) async fn watch(gateway: Gateway, status: Rc<Status>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let memory = &status.memory;
    let (mut round, mut untold) = (0_u32, false);
    loop {
        rounds.tick().await;
        round = round.wrapping_add(1);
        if round.is_multiple_of(ROUNDS) {
            memory.want(memory.wanted.get());
        }
        let resident = memory.limit().and_then(|_| resident_bytes());
        untold |= memory.look(resident);
        if untold && gateway.refuse_new(memory.is_full()) {
            untold = false;
            let (resident, limit) = (resident.unwrap_or(0), memory.limit().unwrap_or(0));
            match memory.is_full() {
                true => warn!(resident, limit, "memory is used up, new requests are refused"),
                false => info!(resident, limit, "memory is free again, new requests are served"),
            }
        }
    }
}

/// Gives memory that this thread has freed back to the system. Without, the allocator keeps it for a while, or as long as
/// the thread does nothing.
pub(crate) fn give_back() {
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// What the process has in memory, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The limit in bytes, where the process may use so many.
fn limit(wanted: Memory, usable: Option<u64>) -> Option<u64> {
    match wanted {
        Memory::Unlimited => None,
        Memory::Bytes(bytes) => Some(bytes),
        Memory::Share(percent) => usable.map(|bytes| bytes / 100 * u64::from(percent)),
    }
}

/// What the process may use: the smallest limit of the control groups that it is in, or the machine's memory.
fn usable() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kilobytes(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = groups.lines().flat_map(limit_files);
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine).min()
}

/// The files that may have a memory limit of the control group in this line of `/proc/self/cgroup`, and of those that it
/// is in; see cgroups(7).
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (_, Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        of if of.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let inner = Path::new(root).join(group.trim_start_matches('/'));
    inner.ancestors().take_while(|folder| folder.starts_with(root)).map(|folder| folder.join(name)).collect()
}

/// A number of a file of /proc that is in kB, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_in_bytes() {
        assert_eq!(kilobytes("VmPeak:\t  9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12288));
        assert_eq!(kilobytes("VmRSS:\t   12 kB\n", "VmHWM:"), None);
        assert!(resident_bytes() > Some(1 << 20));
    }

    #[test]
    fn the_limit_is_what_was_written_or_a_share() {
        assert_eq!(limit(Memory::Unlimited, Some(1000)), None);
        assert_eq!(limit(Memory::Bytes(5000), Some(1000)), Some(5000));
        assert_eq!(limit(Memory::Share(95), Some(1000)), Some(950));
        assert_eq!(limit(Memory::Share(95), None), None);
        assert!(usable() > Some(1 << 20), "a machine has memory");
    }

    #[test]
    fn limits_are_looked_for_in_all_groups_above() {
        let names =
            |line| limit_files(line).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        let expected =
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"];
        assert_eq!(names("0::/a/b"), expected);
        assert_eq!(names("0::/"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(names("7:memory,hugetlb:/"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(names("3:cpu,cpuacct:/x").is_empty() && names("what").is_empty());
    }

    #[test]
    fn it_is_full_until_a_part_is_free() {
        let memory = MemoryState::default();
        assert!(!memory.look(Some(u64::MAX)), "there is no limit");
        memory.limit.set(Some(1000));
        let looks = [999, 1000, 999, 950, 949, 999].map(|resident| {
            memory.look(Some(resident));
            memory.is_full()
        });
        assert_eq!(looks, [false, true, true, true, false, false]);
        assert!(memory.look(Some(1000)) && !memory.look(Some(1001)), "it changes once");
    }
}
