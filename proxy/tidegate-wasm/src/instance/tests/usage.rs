//! Engines that measure count what guests do, the same in each run.

use super::*;
use crate::Usage;

const GUEST: &str = r#"
    (data (i32.const 0) "x-asked")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 1)))
        (drop (call $get (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 2048) (i32.const 2052)))
        (i32.const 0))
"#;

fn usage(engine: &Engine) -> Usage {
    let plugin = plugin_of(engine, &wasm(GUEST), &Arc::new(Shared::new()));
    let mut instance = Instance::start(&plugin, NOW).unwrap();
    let before = instance.usage();
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, get(), true, NOW).unwrap(), Step::Continue);
    instance.usage() - before
}

#[test]
fn what_a_guest_does_is_counted() {
    let first = usage(&Engine::measuring().unwrap());
    // Name and value of the field; the name again, and the value that is given.
    assert_eq!((first.calls, first.copied), (2, 7 + 1 + 7 + 1));
    assert!(first.instructions > 10, "{first:?}");
    assert_eq!(usage(&Engine::measuring().unwrap()), first);
    assert_eq!(usage(&engine()), Usage::default());
}
