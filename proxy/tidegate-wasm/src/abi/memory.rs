//! The guest's memory: the only place where guest pointers become slices.

use crate::state::{Phase, State};
use tidegate_abi::Status;
use wasmtime::{AsContextMut, Caller, Extern};

/// Why a host function does not answer `Ok`.
pub(crate) enum Fault {
    /// It answers this.
    Status(Status),
    /// The guest is to be stopped.
    Trap(wasmtime::Error),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// The memory as it is now; calls into the guest may move and grow it.
pub(crate) struct GuestMemory<'a>(&'a mut [u8]);

impl GuestMemory<'_> {
    /// Bytes of the guest.
    #[inline]
    pub(crate) fn read(&self, at: u32, len: u32) -> Result<&[u8], Status> {
        let start = at as usize;
        let end = start.checked_add(len as usize).ok_or(Status::InvalidMemoryAccess)?;
        self.0.get(start..end).ok_or(Status::InvalidMemoryAccess)
    }

    pub(crate) fn read_u32(&self, at: u32) -> Result<u32, Status> {
        let bytes = self.read(at, 4)?.try_into().map_err(|_| Status::InvalidMemoryAccess)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A part of the guest's memory to be written.
    #[inline]
    pub(crate) fn slice_mut(&mut self, at: u32, len: usize) -> Result<&mut [u8], Status> {
        let start = at as usize;
        let end = start.checked_add(len).ok_or(Status::InvalidMemoryAccess)?;
        self.0.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)
    }

    #[inline]
    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Status> {
        self.slice_mut(at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline]
    pub(crate) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Status> {
        self.write(at, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Status> {
        self.write(at, &value.to_le_bytes())
    }
}

/// The guest's memory and the state beside it.
#[inline]
pub(crate) fn split<'a>(
    caller: &'a mut Caller<'_, State>,
) -> Result<(GuestMemory<'a>, &'a mut State), Status> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // A start function runs before the host could look the memory up.
        None => {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let memory = memory.ok_or(Status::InvalidMemoryAccess)?;
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    Ok((GuestMemory(bytes), state))
}

/// Hands bytes to the guest in memory that the guest gives for it, and writes where and how many.
pub(crate) fn give(
    caller: &mut Caller<'_, State>,
    bytes: &[u8],
    at_pointer: u32,
    at_size: u32,
) -> Result<(), Fault> {
    let size = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
    caller.data_mut().budget.copies(bytes.len());
    let pointer = if size == 0 { 0 } else { allocate(caller, size)? };
    // The guest's allocator may have grown the memory, so it is looked at again.
    let (mut memory, _) = split(caller)?;
    memory.write(pointer, bytes)?;
    memory.write_u32(at_pointer, pointer)?;
    memory.write_u32(at_size, size)?;
    Ok(())
}

/// Asks the guest for memory. While it looks for some it may call next to nothing.
fn allocate(caller: &mut Caller<'_, State>, size: u32) -> Result<u32, Fault> {
    let state = caller.data_mut();
    let malloc = state.malloc.take().ok_or(Status::InternalFailure)?;
    let phase = std::mem::replace(&mut state.phase, Phase::Allocating);
    let pointer = malloc.call(caller.as_context_mut(), size);
    let state = caller.data_mut();
    state.phase = phase;
    state.malloc = Some(malloc);
    match pointer {
        Ok(0) => Err(Fault::Status(Status::InvalidMemoryAccess)),
        Ok(pointer) => Ok(pointer),
        Err(error) => Err(Fault::Trap(error)),
    }
}

/// Collects bytes with `fill` in a buffer that is used again and again, then hands them over.
pub(crate) fn give_filled(
    caller: &mut Caller<'_, State>,
    at_pointer: u32,
    at_size: u32,
    fill: impl FnOnce(GuestMemory<'_>, &mut State, &mut Vec<u8>) -> Result<(), Status>,
) -> Result<(), Fault> {
    let mut bytes = std::mem::take(&mut caller.data_mut().scratch);
    bytes.clear();
    let filled = split(caller).and_then(|(memory, state)| fill(memory, state, &mut bytes));
    let given = filled.map_err(Fault::Status).and_then(|()| give(caller, &bytes, at_pointer, at_size));
    bytes.shrink_to(SCRATCH_BYTES);
    caller.data_mut().scratch = bytes;
    given
}

/// Bytes of the buffer that are not given back.
const SCRATCH_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_checked_against_the_memory() {
        let mut bytes = [0_u8; 16];
        let mut memory = GuestMemory(&mut bytes);
        assert_eq!(memory.write_u32(12, 7), Ok(()));
        assert_eq!(memory.read_u32(12), Ok(7));
        assert_eq!(memory.read(16, 0).map(<[u8]>::len), Ok(0));
        for (at, len) in [(13, 4), (16, 1), (u32::MAX, 1), (0, u32::MAX), (u32::MAX, u32::MAX)] {
            assert_eq!(memory.read(at, len), Err(Status::InvalidMemoryAccess), "{at} {len}");
        }
        assert_eq!(memory.write_u64(9, 1), Err(Status::InvalidMemoryAccess));
        assert_eq!(memory.write(u32::MAX, b"x"), Err(Status::InvalidMemoryAccess));
    }
}
