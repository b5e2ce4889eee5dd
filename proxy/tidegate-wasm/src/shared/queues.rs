//! Queues between plugins, found by their own name and the VM id, or the name, of the plugin that registered them.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tidegate_abi::Status;

/// Queues of a process.
const QUEUES: usize = 1024;

/// Entries of a queue.
const ENTRIES: usize = 65_536;

/// Bytes of all entries of a queue.
const BYTES: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Queues {
    list: Vec<Queue>,
}

struct Queue {
    /// The VM's id of who registered it first, or its name.
    owner: String,
    /// Who registered it last.
    plugin: String,
    name: Box<[u8]>,
    entries: VecDeque<Bytes>,
    bytes: usize,
    listener: Option<Listener>,
}

/// Called for each entry, on whatever thread put it.
pub(crate) type Listener = Arc<dyn Fn() + Send + Sync>;

impl Queues {
    /// The queue's number, counted from 1; registering again gives the same. `owner`: the plugin's VM id, or its name.
    pub(super) fn register(&mut self, owner: &str, plugin: &str, name: &[u8]) -> Result<u32, Status> {
        let of_owner = |queue: &Queue| queue.owner == owner && *queue.name == *name;
        if let Some(at) = self.list.iter().position(of_owner) {
            if let Some(queue) = self.list.get_mut(at).filter(|queue| queue.plugin != plugin) {
                plugin.clone_into(&mut queue.plugin);
            }
            return u32::try_from(at + 1).map_err(|_| Status::InternalFailure);
        }
        if self.list.len() >= QUEUES {
            return Err(Status::InternalFailure);
        }
        self.list.push(Queue {
            owner: owner.into(),
            plugin: plugin.into(),
            name: name.into(),
            entries: VecDeque::new(),
            bytes: 0,
            listener: None,
        });
        u32::try_from(self.list.len()).map_err(|_| Status::InternalFailure)
    }

    /// A queue by its owner, else by the plugin that registered it.
    pub(super) fn find(&self, owner: &[u8], name: &[u8]) -> Option<u32> {
        let by = |of: fn(&Queue) -> &str| {
            self.list.iter().position(|queue| of(queue).as_bytes() == owner && *queue.name == *name)
        };
        u32::try_from(by(|queue| &queue.owner).or_else(|| by(|queue| &queue.plugin))? + 1).ok()
    }

    /// Whoever listens last is told. Gives the number of entries that wait.
    pub(super) fn listen(&mut self, number: u32, listener: Listener) -> usize {
        let Ok(queue) = self.queue(number) else { return 0 };
        queue.listener = Some(listener);
        queue.entries.len()
    }

    /// Appends; gives the name of the plugin that registered the queue, and who is to be told.
    pub(super) fn enqueue(
        &mut self,
        number: u32,
        value: &[u8],
    ) -> Result<(String, Option<Listener>), Status> {
        let queue = self.queue(number)?;
        if queue.entries.len() >= ENTRIES || queue.bytes + value.len() > BYTES {
            return Err(Status::InternalFailure);
        }
        queue.bytes += value.len();
        queue.entries.push_back(Bytes::copy_from_slice(value));
        Ok((queue.plugin.clone(), queue.listener.clone()))
    }

    pub(super) fn dequeue(&mut self, number: u32) -> Result<Bytes, Status> {
        let queue = self.queue(number)?;
        let value = queue.entries.pop_front().ok_or(Status::Empty)?;
        queue.bytes -= value.len();
        Ok(value)
    }

    fn queue(&mut self, number: u32) -> Result<&mut Queue, Status> {
        let at = (number as usize).checked_sub(1).ok_or(Status::NotFound)?;
        self.list.get_mut(at).ok_or(Status::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_belong_to_a_vm_or_to_a_plugin() {
        let mut queues = Queues::default();
        let of_vm = queues.register("vm", "one", b"q").unwrap();
        let own = queues.register("two", "two", b"q").unwrap();
        assert_eq!(queues.register("vm", "three", b"q"), Ok(of_vm), "who registers last has it");
        for (owner, found) in
            [(&b"vm"[..], Some(of_vm)), (b"three", Some(of_vm)), (b"two", Some(own)), (b"one", None)]
        {
            assert_eq!(queues.find(owner, b"q"), found, "{owner:?}");
        }
        // A plugin of a VM's name does not get between that VM's plugins.
        assert_eq!(queues.register("four", "vm", b"q").map(|number| number == of_vm), Ok(false));
        assert_eq!(queues.find(b"vm", b"q"), Some(of_vm));
    }

    #[test]
    fn entries_come_out_in_order() {
        let mut queues = Queues::default();
        let number = queues.register("p", "p", b"q").unwrap();
        assert_eq!(queues.register("p", "p", b"q"), Ok(number));
        assert_ne!(queues.register("other", "other", b"q"), Ok(number));
        assert_eq!(queues.find(b"p", b"q"), Some(number));
        assert_eq!(queues.dequeue(number), Err(Status::Empty));
        assert_eq!(queues.enqueue(number, b"1").unwrap().0, "p");
        queues.enqueue(number, b"2").unwrap();
        assert_eq!(queues.dequeue(number).as_deref(), Ok(&b"1"[..]));
        assert_eq!(queues.dequeue(number).as_deref(), Ok(&b"2"[..]));
        for unknown in [0, 99] {
            assert_eq!(queues.enqueue(unknown, b"").err(), Some(Status::NotFound));
            assert_eq!(queues.dequeue(unknown), Err(Status::NotFound));
        }
        assert_eq!(queues.enqueue(number, &vec![0; BYTES + 1]).err(), Some(Status::InternalFailure));
    }
}
