//! A proxy-wasm guest on the bare ABI (0.2.1), without an SDK: no status is taken for granted. Each stream does what
//! its request's `x-script` header says (`x-script-NAME` where the plugin's configuration is NAME) and logs statuses
//! and bytes, so that two hosts can be compared line by line.

mod host;
mod script;

use script::{Script, Wish};
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
struct Guest {
    streams: HashMap<u32, Script>,
    /// By root context: the configuration.
    names: HashMap<u32, String>,
    /// By stream: its root.
    roots: HashMap<u32, u32>,
    /// By token of a call.
    calls: HashMap<u32, u32>,
    /// The stream whose script has the next tick.
    ticking: Option<u32>,
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::default();
}

fn with<R>(act: impl FnOnce(&mut Guest) -> R) -> R {
    GUEST.with_borrow_mut(act)
}

/// Runs a callback's steps with nothing borrowed but the stream's own script, which is set aside.
fn run(id: u32, callback: &'static str, shown: &str, end: bool) -> u32 {
    let Some(mut script) = with(|guest| guest.streams.remove(&id)) else { return 0 };
    script.line(&format!("{callback}{shown}"));
    let mut action = 0;
    for wish in script.run(callback, end) {
        match wish {
            Wish::Return(value) => action = value,
            Wish::Called(token) => {
                with(|guest| guest.calls.insert(token, id));
            }
            Wish::Tick => with(|guest| guest.ticking = Some(id)),
        }
    }
    with(|guest| guest.streams.insert(id, script));
    action
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Gives the host memory, which then belongs to the guest.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut block = std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(size));
    block.as_mut_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, root: u32) {
    if root != 0 {
        with(|guest| {
            guest.roots.insert(id, root);
        });
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: u32) -> u32 {
    let (_, bytes) = host::buffer(7, 0, size);
    let name = String::from_utf8_lossy(&bytes).into_owned();
    with(|guest| guest.names.insert(root, name));
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _count: u32, end: u32) -> u32 {
    let root = with(|guest| guest.roots.get(&id).copied().unwrap_or_default());
    let name = with(|guest| guest.names.get(&root).cloned().unwrap_or_default());
    let header = if name.is_empty() { "x-script".to_owned() } else { format!("x-script-{name}") };
    let text = |name: &str| String::from_utf8_lossy(&host::value(0, name.as_bytes()).1).into_owned();
    let case = text("x-case");
    let case = if name.is_empty() { case } else { format!("{case}.{name}") };
    let script = Script::parse(&case, &text(&header));
    with(|guest| guest.streams.insert(id, script));
    run(id, "rqh", &format!(" end={end}"), end != 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(id: u32, size: u32, end: u32) -> u32 {
    run(id, "rqb", &format!(" size={size} end={end}"), end != 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(id: u32, _count: u32) -> u32 {
    run(id, "rqt", "", false)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _count: u32, end: u32) -> u32 {
    run(id, "rsh", &format!(" end={end}"), end != 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(id: u32, size: u32, end: u32) -> u32 {
    run(id, "rsb", &format!(" size={size} end={end}"), end != 0)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(id: u32, _count: u32) -> u32 {
    run(id, "rst", "", false)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(_root: u32, token: u32, headers: u32, size: u32, trailers: u32) {
    let Some(id) = with(|guest| guest.calls.remove(&token)) else { return };
    let known = with(|guest| guest.streams.contains_key(&id));
    if known && host::effective(id) == 0 {
        let some = u32::from(headers > 0);
        run(id, "call", &format!(" headers={some} size={size} trailers={trailers}"), false);
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(_root: u32) {
    if let Some(id) = with(|guest| guest.ticking.take()) {
        host::tick_period(0);
        if host::effective(id) == 0 {
            run(id, "tick", "", false);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    run(id, "log", "", false);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(id: u32) -> u32 {
    run(id, "done", "", false);
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    run(id, "delete", "", false);
    with(|guest| {
        guest.streams.remove(&id);
        guest.roots.remove(&id);
    });
}
