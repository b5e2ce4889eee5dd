//! What AssemblyScript's compiler imports on its own: `env.abort`, by which a guest gives up.

use super::Imports;
use crate::abi::memory::{GuestMemory, split};
use crate::state::State;
use tidegate_abi::{LogLevel, Status};
use wasmtime::Caller;

/// Units of UTF-16 that are read of a text.
const UNITS: u32 = 4096;

/// Links it; it may be called at any time.
pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    imports.linker.func_wrap(
        "env",
        "abort",
        |mut caller: Caller<'_, State>,
         message: u32,
         file: u32,
         line: u32,
         column: u32|
         -> wasmtime::Result<()> {
            let text = told(&mut caller, message, file, line, column);
            caller.data_mut().remark(LogLevel::Critical, &text);
            Err(wasmtime::format_err!("{text}"))
        },
    )?;
    imports.names.insert(("env", "abort"));
    Ok(())
}

fn told(caller: &mut Caller<'_, State>, message: u32, file: u32, line: u32, column: u32) -> String {
    let Ok((memory, _)) = split(caller) else { return "abort".to_owned() };
    let message = text(&memory, message).unwrap_or_default();
    let file = text(&memory, file).unwrap_or_default();
    format!("abort: {message} at {file}:{line}:{column}")
}

/// A text of AssemblyScript: UTF-16, with its length in bytes before it. No address is no text.
fn text(memory: &GuestMemory<'_>, at: u32) -> Result<String, Status> {
    let before = at.checked_sub(4).ok_or(Status::NotFound)?;
    let bytes = memory.read_u32(before)?.min(2 * UNITS);
    let (units, _) = memory.read(at, bytes)?.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    Ok(char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}
