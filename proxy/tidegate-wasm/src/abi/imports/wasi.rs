//! The part of WASI that guests need to start: output goes to the log, there are no files, no
//! sockets and no arguments. Both names of the module are served.

use super::{Imports, restricted, watched};
use crate::abi::chain;
use crate::abi::memory::split;
use crate::state::{Phase, State};
use tidegate_abi::{LogLevel, Status};
use wasmtime::{Caller, FuncType, Val, ValType};

/// Numbers of WASI errors.
const OK: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const NOENT: u32 = 44;
const NOSYS: u32 = 52;
const NOTDIR: u32 = 54;
const NOTSUP: u32 = 58;

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Stands for an answer that depends on the file: the two outputs take it, there are no others.
const OUTPUTS: u32 = u32::MAX;

/// Most random bytes at once.
const RANDOM_BYTES: u32 = 64 << 10;

/// Most pieces of one write.
const PIECES: u32 = 1024;

type Wasi = Result<(), u32>;

/// Functions without a meaning here: name, parameters (`i` 32 bits, `I` 64), answer.
const EMPTY: [(&str, &str, u32); 33] = [
    ("args_get", "ii", OK),
    ("fd_advise", "iIIi", OK),
    ("fd_allocate", "iII", OUTPUTS),
    ("fd_close", "i", OK),
    ("fd_datasync", "i", OUTPUTS),
    ("fd_fdstat_set_flags", "ii", NOSYS),
    ("fd_fdstat_set_rights", "iII", OUTPUTS),
    ("fd_filestat_get", "ii", BADF),
    ("fd_filestat_set_size", "iI", OUTPUTS),
    ("fd_filestat_set_times", "iIIi", OUTPUTS),
    ("fd_pread", "iiiIi", NOSYS),
    ("fd_prestat_dir_name", "iii", NOSYS),
    ("fd_prestat_get", "ii", BADF),
    ("fd_read", "iiii", NOSYS),
    ("fd_readdir", "iiiIi", NOTDIR),
    ("fd_renumber", "ii", BADF),
    ("fd_sync", "i", OUTPUTS),
    ("path_create_directory", "iii", NOTSUP),
    ("path_filestat_get", "iiiii", NOTSUP),
    ("path_filestat_set_times", "iiiiIIi", NOTSUP),
    ("path_link", "iiiiiii", NOTSUP),
    ("path_open", "iiiiiIIii", NOENT),
    ("path_readlink", "iiiiii", NOTSUP),
    ("path_remove_directory", "iii", NOTSUP),
    ("path_rename", "iiiiii", NOTSUP),
    ("path_symlink", "iiiii", NOTSUP),
    ("path_unlink_file", "iii", NOTSUP),
    ("proc_raise", "i", NOTSUP),
    ("sched_yield", "", OK),
    ("sock_accept", "iii", NOTSUP),
    ("sock_recv", "iiiiii", NOTSUP),
    ("sock_send", "iiiii", NOTSUP),
    ("sock_shutdown", "ii", NOTSUP),
];

/// Links a function that is allowed in the given phases besides callbacks and the start.
macro_rules! wasi {
    ($imports:ident, $module:ident: $($name:literal = $function:path, $anytime:literal, ($($param:ident: $ty:ty),*);)*) => {$(
        $imports.linker.func_wrap(
            $module,
            $name,
            |mut caller: Caller<'_, State>, $($param: $ty),*| -> wasmtime::Result<u32> {
                if !$anytime && caller.data().phase == Phase::Allocating {
                    return Err(restricted($name));
                }
                watched::call_anytime(&mut caller, |caller| Ok($function(caller, $($param),*).err().unwrap_or(OK)))
            },
        )?;
        $imports.names.insert(($module, $name));
    )*};
}

/// Links all of it.
pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    for module in MODULES {
        for (name, params, answer) in EMPTY {
            link_empty(imports, module, name, params, answer)?;
        }
        wasi! { imports, module:
            "fd_write" = fd_write, true, (fd: u32, pieces: u32, count: u32, written: u32);
            "fd_pwrite" = fd_pwrite, false, (fd: u32, pieces: u32, count: u32, offset: u64, written: u32);
            "fd_seek" = fd_seek, false, (fd: u32, offset: u64, whence: u32, at: u32);
            "fd_tell" = fd_tell, false, (fd: u32, at: u32);
            "fd_fdstat_get" = fd_fdstat_get, false, (fd: u32, at: u32);
            "args_sizes_get" = args_sizes_get, false, (count: u32, size: u32);
            "environ_sizes_get" = environ_sizes_get, false, (count: u32, size: u32);
            "environ_get" = environ_get, false, (pointers: u32, strings: u32);
            "clock_time_get" = clock_time_get, true, (clock: u32, precision: u64, at: u32);
            "clock_res_get" = clock_res_get, false, (clock: u32, at: u32);
            "random_get" = random_get, false, (at: u32, size: u32);
            "poll_oneoff" = poll_oneoff, true, (subscriptions: u32, events: u32, count: u32, done: u32);
        }
        // The start files of some languages end with it; what follows is theirs.
        imports.linker.func_wrap(module, "proc_exit", |mut caller: Caller<'_, State>, code: u32| {
            caller.data_mut().remark(LogLevel::Warn, &format!("the module called proc_exit({code})"));
        })?;
        imports.names.insert((module, "proc_exit"));
    }
    Ok(())
}

fn link_empty(
    imports: &mut Imports,
    module: &'static str,
    name: &'static str,
    params: &str,
    answer: u32,
) -> wasmtime::Result<()> {
    let params = params.chars().map(|kind| if kind == 'I' { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(imports.linker.engine(), params, [ValType::I32]);
    imports.linker.func_new(module, name, ty, move |caller, params, results| {
        if caller.data().phase == Phase::Allocating {
            return Err(restricted(name));
        }
        let answer = match (answer, params.first()) {
            (OUTPUTS, Some(Val::I32(1 | 2))) => OK,
            (OUTPUTS, _) => BADF,
            _ => answer,
        };
        if let Some(result) = results.first_mut() {
            *result = Val::I32(answer.cast_signed());
        }
        Ok(())
    })?;
    imports.names.insert((module, name));
    Ok(())
}

fn fault(_: Status) -> u32 {
    FAULT
}

/// Output is log lines: standard output for information, standard error for errors.
fn fd_write(caller: &mut Caller<'_, State>, fd: u32, pieces: u32, count: u32, written: u32) -> Wasi {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Err(BADF),
    };
    if count > PIECES {
        return Err(INVAL);
    }
    let (mut memory, state) = split(caller).map_err(fault)?;
    let mut line = Vec::new();
    for piece in 0..count {
        let at = pieces.checked_add(piece * 8).ok_or(FAULT)?;
        let (start, len) = (memory.read_u32(at), at.checked_add(4).map(|at| memory.read_u32(at)));
        let bytes = memory.read(start.map_err(fault)?, len.ok_or(FAULT)?.map_err(fault)?).map_err(fault)?;
        line.extend_from_slice(bytes);
    }
    memory.write_u32(written, u32::try_from(line.len()).unwrap_or(u32::MAX)).map_err(fault)?;
    state.budget.copies(line.len());
    state.write_out(level, &line);
    if state.writes_line() {
        chain::stop(caller);
    }
    Ok(())
}

fn fd_pwrite(caller: &mut Caller<'_, State>, fd: u32, pieces: u32, count: u32, _: u64, written: u32) -> Wasi {
    fd_write(caller, fd, pieces, count, written)
}

fn fd_seek(caller: &mut Caller<'_, State>, _: u32, _: u64, _: u32, at: u32) -> Wasi {
    split(caller).and_then(|(mut memory, _)| memory.write_u64(at, 0)).map_err(fault)
}

fn fd_tell(caller: &mut Caller<'_, State>, fd: u32, at: u32) -> Wasi {
    if !matches!(fd, 1 | 2) {
        return Err(BADF);
    }
    split(caller).and_then(|(mut memory, _)| memory.write_u64(at, 0)).map_err(fault)
}

/// The two outputs are files of no known kind that can be written.
fn fd_fdstat_get(caller: &mut Caller<'_, State>, fd: u32, at: u32) -> Wasi {
    if !matches!(fd, 1 | 2) {
        return Err(BADF);
    }
    let mut stat = [0; 24];
    stat[8] = 64;
    split(caller).and_then(|(mut memory, _)| memory.write(at, &stat)).map_err(fault)
}

fn args_sizes_get(caller: &mut Caller<'_, State>, count: u32, size: u32) -> Wasi {
    let (mut memory, _) = split(caller).map_err(fault)?;
    memory.write_u32(count, 0).and_then(|()| memory.write_u32(size, 0)).map_err(fault)
}

fn environ_sizes_get(caller: &mut Caller<'_, State>, count: u32, size: u32) -> Wasi {
    let (mut memory, state) = split(caller).map_err(fault)?;
    let list = &state.plugin.spec.environment;
    let bytes: usize = list.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let (entries, bytes) = (u32::try_from(list.len()), u32::try_from(bytes));
    let (entries, bytes) = (entries.map_err(|_| INVAL)?, bytes.map_err(|_| INVAL)?);
    memory.write_u32(count, entries).and_then(|()| memory.write_u32(size, bytes)).map_err(fault)
}

fn environ_get(caller: &mut Caller<'_, State>, mut pointers: u32, mut strings: u32) -> Wasi {
    let (mut memory, state) = split(caller).map_err(fault)?;
    for (name, value) in &state.plugin.spec.environment {
        let entry = format!("{name}={value}\0");
        memory.write_u32(pointers, strings).map_err(fault)?;
        memory.write(strings, entry.as_bytes()).map_err(fault)?;
        pointers = pointers.checked_add(4).ok_or(FAULT)?;
        strings = u32::try_from(entry.len()).ok().and_then(|len| strings.checked_add(len)).ok_or(FAULT)?;
    }
    Ok(())
}

fn clock_time_get(caller: &mut Caller<'_, State>, clock: u32, _: u64, at: u32) -> Wasi {
    let (mut memory, state) = split(caller).map_err(fault)?;
    let time = match clock {
        0 => state.wall_clock(),
        1 => state.monotonic_clock(),
        _ => return Err(NOTSUP),
    };
    memory.write_u64(at, time).map_err(fault)
}

fn clock_res_get(caller: &mut Caller<'_, State>, clock: u32, at: u32) -> Wasi {
    if clock > 1 {
        return Err(NOTSUP);
    }
    split(caller).and_then(|(mut memory, _)| memory.write_u64(at, 1)).map_err(fault)
}

fn random_get(caller: &mut Caller<'_, State>, at: u32, size: u32) -> Wasi {
    if size > RANDOM_BYTES {
        return Err(INVAL);
    }
    let (mut memory, state) = split(caller).map_err(fault)?;
    state.plugin.engine.random(memory.slice_mut(at, size as usize).map_err(fault)?);
    Ok(())
}

/// Waits for nothing: Go's scheduler looks at the clock afterwards and asks again.
fn poll_oneoff(caller: &mut Caller<'_, State>, _: u32, _: u32, _: u32, done: u32) -> Wasi {
    split(caller).and_then(|(mut memory, _)| memory.write_u32(done, 0)).map_err(fault)
}
