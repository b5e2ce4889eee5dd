//! Callbacks that follow each other, as one call from the host: to enter a guest costs more than many of its callbacks do.
//! A module of our own stands before the guest's functions, which calls one behind the other.
//!
//! Each callback is for itself all the same. What one of them leaves behind that the next one must not find (another
//! effective context, an unfinished line) is a reason to stop between them, and the host goes on one by one. Of the time
//! limit it knows how far a chain has come: each callback has the time of one call, but what a chain has used before it
//! counts only when the time is over first, so that a callback that never ends has up to twice its time.
//!
//! Between a response's head and its body the host has something to do (the head has gone on, the body is there). A guest
//! cannot tell before it asks the host for something, so that is when it is done: see [`catch_up`].

use crate::{
    Engine,
    state::{Phase, State},
};
use std::cell::Cell;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, NameMap, NameSection, TypeSection, ValType,
};
use wasmtime::{AsContextMut, Caller, Extern, Global, Instance, Store, TypedFunc, Val};

/// What the module is called in back-traces, out of which it is cut.
const NAME: &str = "tidegate:chain";

/// The guest's functions with the numbers of their types below; the last two only where it has them.
const CALLS: [(&str, u32); 7] = [
    ("proxy_on_context_create", 0),
    ("proxy_on_request_headers", 1),
    ("proxy_on_log", 2),
    ("proxy_on_done", 3),
    ("proxy_on_delete", 2),
    ("proxy_on_response_headers", 1),
    ("proxy_on_response_body", 1),
];

/// How many of them each guest with chains has.
const ALWAYS: usize = 5;

/// A chain that was stopped behind its first callback answers with this bit, beyond those of an action.
const STOPPED: u64 = 1 << 32;

/// What each of its functions is called in profiles.
const FUNCTIONS: &str = "callbacks at once";

/// How far the chain has come, counted in callbacks, and none when it is left; what has it stop.
const AT: u32 = 0;
const STOP: u32 = 1;

/// The chains of one guest.
pub(crate) struct Chain {
    begin: TypedFunc<(u32, u32, u32, u32), u64>,
    end: TypedFunc<u32, u32>,
    respond: Option<TypedFunc<(u32, u32, u32), u64>>,
    /// No callback for a response's head has asked the host for anything. One that does stops the chain, so it had
    /// better not be begun.
    silent: Cell<bool>,
}

/// How far a response has come by a chain, with the last callback's action.
pub(crate) enum Responded {
    /// The guest has seen the head.
    Head(u32),
    /// It has seen the body too.
    Body(u32),
}

/// What the host sees of a chain that goes on.
#[derive(Clone, Copy)]
pub(crate) struct Marks {
    at: Global,
    stop: Global,
}

impl Chain {
    /// Puts chains before a guest; none if it lacks one of the callbacks, or they have the types of ABI 0.1.0.
    pub(crate) fn put(store: &mut Store<State>, guest: &Instance, engine: &Engine) -> Option<Self> {
        let has = |(name, _): &(&str, u32)| guest.get_func(&mut *store, name).map(Extern::from);
        let calls: Vec<Extern> = CALLS.iter().map_while(has).collect();
        let responds = calls.len() == CALLS.len();
        let calls = if responds { &calls[..] } else { calls.get(..ALWAYS)? };
        let chain = Instance::new(&mut *store, engine.chain(responds)?, calls).ok()?;
        let marks =
            Marks { at: chain.get_global(&mut *store, "at")?, stop: chain.get_global(&mut *store, "stop")? };
        let begin = chain.get_typed_func(&mut *store, "begin").ok()?;
        let end = chain.get_typed_func(&mut *store, "end").ok()?;
        let respond = chain.get_typed_func(&mut *store, "respond").ok();
        store.data_mut().marks = Some(marks);
        Some(Self { begin, end, respond, silent: Cell::new(true) })
    }

    /// Tells the guest of a stream and shows it its head; none: only the first was done.
    #[inline]
    pub(crate) fn begin(
        &self,
        store: &mut Store<State>,
        (id, root): (u32, u32),
        (count, end): (u32, bool),
    ) -> wasmtime::Result<Option<u32>> {
        store.data_mut().chained = true;
        let done = self.begin.call(&mut *store, (id, root, count, u32::from(end)))?;
        store.data_mut().chained = false;
        Ok(if done == STOPPED { None } else { u32::try_from(done).ok() })
    }

    /// Shows the guest the head of a response, of so many fields, and its whole body of so many bytes, if the head goes on.
    /// None: that is not for a chain. What becomes of the head and of the body stands where [`catch_up`] has left it.
    #[inline]
    pub(crate) fn respond(
        &self,
        store: &mut Store<State>,
        (id, fields, size): (u32, u32, u32),
    ) -> Option<wasmtime::Result<Responded>> {
        let respond = self.respond.as_ref().filter(|_| self.silent.get())?;
        let state = store.data_mut();
        (state.chained, state.phase) = (true, Phase::Chained);
        let done = respond.call(&mut *store, (id, fields, size));
        if done.is_err() && passed(store) > 0 {
            store.data().entered_one();
        }
        let state = store.data_mut();
        state.chained = false;
        let silent = std::mem::replace(&mut state.phase, Phase::Running) == Phase::Chained;
        Some(done.map(|done| {
            if let Ok(action) = u32::try_from(done) {
                return Responded::Body(action);
            }
            self.silent.set(silent);
            Responded::Head(u32::try_from(done & !STOPPED).unwrap_or_default())
        }))
    }

    /// Has the guest log a stream, be done with it, and forget it; how many of the three were done.
    #[inline]
    pub(crate) fn end(&self, store: &mut Store<State>, id: u32) -> wasmtime::Result<u32> {
        store.data_mut().chained = true;
        let done = self.end.call(&mut *store, id)?;
        store.data_mut().chained = false;
        Ok(done)
    }
}

/// Has a chain that goes on stop behind this callback.
#[cold]
pub(crate) fn stop(caller: &mut Caller<'_, State>) {
    if let (true, Some(marks)) = (caller.data().chained, caller.data().marks) {
        // Its type is known.
        let _ = marks.stop.set(&mut *caller, Val::I32(1));
    }
}

/// The guest asks the host for something in a chain for a response. In the callback for the head that stops the chain, since
/// what follows depends on it. In the one for the body, the head goes on now and the body is there.
#[cold]
pub(crate) fn catch_up(caller: &mut Caller<'_, State>) {
    caller.data_mut().phase = Phase::Running;
    if passed(caller) == 0 {
        stop(caller);
        return;
    }
    let state = caller.data_mut();
    let keep = state.plugin.module().traits().reads_fields;
    if let Some(stream) = state.stream_mut() {
        stream.turn_to_body(keep);
    }
}

/// How many callbacks of a chain were entered behind its first one.
#[cold]
pub(crate) fn passed(store: &mut impl AsContextMut<Data = State>) -> u32 {
    let state = store.as_context();
    match state.data().marks.filter(|_| state.data().chained) {
        Some(marks) => marks.at.get(store).i32().map_or(0, i32::cast_unsigned),
        None => 0,
    }
}

/// A back-trace without the chain, which stands behind the guest's functions.
pub(crate) fn without(mut backtrace: String) -> String {
    if let Some(at) = backtrace.rfind(NAME) {
        let line = backtrace.get(..at).and_then(|before| before.rfind('\n'));
        backtrace.truncate(line.unwrap_or(at));
    }
    backtrace
}

/// The module.
pub(crate) fn module(responds: bool) -> Vec<u8> {
    let calls = if responds { CALLS.len() } else { ALWAYS };
    let i32s = |count| vec![ValType::I32; count];
    let mut types = TypeSection::new();
    for (params, results) in [(2, 0), (3, 1), (1, 0), (1, 1)] {
        types.ty().function(i32s(params), i32s(results));
    }
    types.ty().function(i32s(4), [ValType::I64]);
    types.ty().function(i32s(3), [ValType::I64]);
    let mut imports = ImportSection::new();
    for (name, ty) in CALLS.iter().take(calls) {
        imports.import("guest", name, EntityType::Function(*ty));
    }
    // Behind what is imported.
    let own = u32::try_from(calls).unwrap_or_default();
    let mut functions = FunctionSection::new();
    functions.function(4).function(3);
    let mut globals = GlobalSection::new();
    let mark = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(mark, &ConstExpr::i32_const(0)).global(mark, &ConstExpr::i32_const(0));
    let mut exports = ExportSection::new();
    exports.export("begin", ExportKind::Func, own).export("end", ExportKind::Func, own + 1);
    exports.export("at", ExportKind::Global, AT).export("stop", ExportKind::Global, STOP);
    let mut code = CodeSection::new();
    code.function(&begin()).function(&end());
    if responds {
        functions.function(5);
        exports.export("respond", ExportKind::Func, own + 2);
        code.function(&respond());
    }
    let mut names = NameSection::new();
    names.module(NAME);
    let mut called = NameMap::new();
    (own..own + functions.len()).for_each(|at| called.append(at, FUNCTIONS));
    names.functions(&called);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals);
    module.section(&exports).section(&code).section(&names);
    module.finish()
}

const CREATE: u32 = 0;
const HEADERS: u32 = 1;
const LOG: u32 = 2;
const DONE: u32 = 3;
const DELETE: u32 = 4;
const RESPONSE_HEADERS: u32 = 5;
const RESPONSE_BODY: u32 = 6;

fn begin() -> Function {
    let mut function = Function::new([]);
    function.instructions().local_get(0).local_get(1).call(CREATE);
    stop_if_asked(&mut function, |function| {
        function.instructions().i64_const(STOPPED.cast_signed());
    });
    function.instructions().i32_const(1).global_set(AT);
    function.instructions().local_get(0).local_get(2).local_get(3).call(HEADERS).i64_extend_i32_u();
    leave(&mut function);
    function.instructions().end();
    function
}

fn end() -> Function {
    let mut function = Function::new([]);
    function.instructions().local_get(0).call(LOG);
    stop_if_asked(&mut function, |function| {
        function.instructions().i32_const(1);
    });
    function.instructions().i32_const(1).global_set(AT).local_get(0).call(DONE).drop();
    stop_if_asked(&mut function, |function| {
        function.instructions().i32_const(2);
    });
    function.instructions().i32_const(2).global_set(AT).local_get(0).call(DELETE).i32_const(3);
    leave(&mut function);
    function.instructions().end();
    function
}

fn respond() -> Function {
    // Of a stream, its fields, and its bytes; then the action.
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();
    code.local_get(0).local_get(1).i32_const(0).call(RESPONSE_HEADERS).local_tee(3);
    code.global_get(STOP).i32_or().if_(BlockType::Empty);
    code.local_get(3).i64_extend_i32_u().i64_const(STOPPED.cast_signed()).i64_or();
    leave(&mut function);
    let mut code = function.instructions();
    code.return_().end().i32_const(1).global_set(AT);
    code.local_get(0).local_get(2).i32_const(1).call(RESPONSE_BODY).i64_extend_i32_u();
    leave(&mut function);
    function.instructions().end();
    function
}

/// Leaves the function with what `answer` puts onto the stack if the host wants to go on by itself.
fn stop_if_asked(function: &mut Function, answer: impl FnOnce(&mut Function)) {
    function.instructions().global_get(STOP).if_(BlockType::Empty);
    answer(function);
    leave(function);
    function.instructions().return_().end();
}

/// Nothing of this chain is there for the next one: not in its first instructions either, in which its time may be over.
fn leave(function: &mut Function) {
    function.instructions().i32_const(0).global_set(AT).i32_const(0).global_set(STOP);
}
