//! Values by key, each with a version.

use bytes::Bytes;
use std::collections::HashMap;
use tidegate_abi::Status;

/// Values of one owner.
const KEYS: usize = 65_536;

/// Bytes of keys and values of one owner.
pub(super) const DATA_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Data {
    values: HashMap<Box<[u8]>, (Bytes, u32)>,
    bytes: usize,
    last_cas: u32,
}

impl Data {
    pub(super) fn value(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        self.values.get(key).cloned()
    }

    /// Sets a value. A `cas` that is not zero must be the one of the value there is, if there is one.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let old = self.values.get(key);
        if let Some((_, current)) = old
            && cas != 0
            && *current != cas
        {
            return Err(Status::CasMismatch);
        }
        let freed = old.map_or(0, |(value, _)| key.len() + value.len());
        let new_key = old.is_none();
        let bytes = self.bytes - freed + key.len() + value.len();
        if bytes > DATA_BYTES || new_key && self.values.len() >= KEYS {
            return Err(Status::InternalFailure);
        }
        // Zero means "whatever is there", so no value has it.
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.bytes = bytes;
        let entry = (Bytes::copy_from_slice(value), self.last_cas);
        self.values.insert(key.into(), entry);
        Ok(())
    }
}
