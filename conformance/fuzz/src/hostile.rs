//! The hostile guest: in each callback it does what its script says next, and gives memory as it is told to.
//!
//! The script is its configuration: numbers of 32 bits, an operation and its arguments. Operations below the number of
//! imports call them.

use std::fmt::Write;

use crate::imports::{CALLBACKS, all, parameters};

/// Operations besides the imports, counted from their number on.
pub(crate) mod op {
    /// Ends what is done in this callback.
    pub(crate) const END: u32 = 0;
    /// Breaks off.
    pub(crate) const TRAP: u32 = 1;
    /// Grows the memory by that many pages.
    pub(crate) const GROW: u32 = 2;
    /// Sets how memory is given.
    pub(crate) const MALLOC: u32 = 3;
    /// Sets what callbacks return.
    pub(crate) const RETURN: u32 = 4;
    /// Writes a number to an address, of which the lower 16 bits count.
    pub(crate) const STORE: u32 = 5;
    /// Calls itself without end.
    pub(crate) const DEEP: u32 = 6;
    /// Loops without end.
    pub(crate) const LOOP: u32 = 7;
}

/// Ways to give memory.
pub(crate) const MALLOCS: u32 = 11;

/// Texts that the host has a meaning for: where each one is, and its length.
pub(crate) fn texts() -> Vec<(u32, u32)> {
    let mut at = TEXTS_AT;
    let mut places = Vec::new();
    for text in TEXTS {
        let len = u32::try_from(text.len()).unwrap();
        places.push((at, len));
        at += len;
    }
    places
}

/// The module in the text form of WebAssembly.
pub(crate) fn module() -> String {
    let imports = all();
    let mut text = String::from("(module\n");
    for (index, (module, name, params)) in imports.iter().enumerate() {
        let params = parameters(params);
        writeln!(text, "(import \"{module}\" \"{name}\" (func $f{index} {params} (result i32)))").unwrap();
    }
    text.push_str(HEAD);
    let bytes: String = TEXTS.concat().bytes().map(|byte| format!("\\{byte:02x}")).collect();
    writeln!(text, "(data (i32.const {TEXTS_AT}) \"{bytes}\")").unwrap();
    text.push_str("(func $do (param $op i32)\n");
    for (index, (_, _, params)) in imports.iter().enumerate() {
        write!(text, "(if (i32.eq (local.get $op) (i32.const {index})) (then (drop (call $f{index}").unwrap();
        for kind in params.chars() {
            text.push_str(if kind == 'I' { " (i64.extend_i32_s (call $next))" } else { " (call $next)" });
        }
        text.push_str(")) (return)))\n");
    }
    let special = |text: &mut String, op: u32, code: &str| {
        let op = imports.len() + op as usize;
        writeln!(text, "(if (i32.eq (local.get $op) (i32.const {op})) (then {code} (return)))").unwrap();
    };
    special(&mut text, op::TRAP, "(unreachable)");
    special(&mut text, op::GROW, "(drop (memory.grow (call $next)))");
    special(&mut text, op::MALLOC, "(global.set $malloc (call $next))");
    special(&mut text, op::RETURN, "(global.set $return (call $next))");
    special(&mut text, op::STORE, "(i32.store (i32.and (call $next) (i32.const 0xfffc)) (call $next))");
    special(&mut text, op::DEEP, "(call $deep)");
    special(&mut text, op::LOOP, "(loop $more (br $more))");
    let end = imports.len() + op::END as usize;
    writeln!(
        text,
        ") (func $run (local $op i32) (loop $more
        (if (i32.ge_u (global.get $pc) (global.get $end)) (then (return)))
        (local.set $op (call $next))
        (if (i32.eq (local.get $op) (i32.const {end})) (then (return)))
        (call $do (local.get $op)) (br $more)))"
    )
    .unwrap();
    for (name, params, result) in CALLBACKS.iter().filter(|(name, ..)| *name != "malloc") {
        let params = parameters(&"i".repeat(*params));
        let (ty, value) = if *result { ("(result i32)", "(global.get $return)") } else { ("", "") };
        let (before, value) = match *name {
            "proxy_on_configure" => ("(call $load)", "(i32.const 1)"),
            "proxy_on_vm_start" => ("", "(i32.const 1)"),
            _ => ("", value),
        };
        writeln!(text, "(func (export \"{name}\") {params} {ty} {before} (call $run) {value})").unwrap();
    }
    text.push_str(MALLOC);
    text.push(')');
    text
}

const TEXTS_AT: u32 = 0x100;

const TEXTS: &[&str] = &[
    "auth",
    "neighbour",
    "hits",
    "k",
    "q",
    "x-a",
    "x-two",
    ":path",
    ":method",
    ":status",
    ":authority",
    "content-length",
    "transfer-encoding",
    "/a",
    "GET",
    "200",
    "a\r\nb: c",
    "\0\0\0\0",
    "\u{1}\0\0\0\u{1}\0\0\0\u{1}\0\0\0a\0b\0",
    "\u{2}\0\0\0\u{7f}\0\0\0\u{1}\0\0\0a\0b\0",
    "\u{3}\0\0\0\u{7}\0\0\0\u{3}\0\0\0\u{5}\0\0\0\u{2}\0\0\0\u{a}\0\0\0\u{1}\0\0\0:method\0GET\0:path\0/p\0:authority\0h\0",
    "request\0path",
    "request\0headers",
    "request\0headers\0x-two",
    "response\0code",
    "plugin_name",
    "source\0address",
    "xds\0cluster_name",
    "clear_route_cache",
    "compress",
    "uncompress",
    "sign",
    "verify_signature",
    "set_envoy_filter_state",
    "declare_property",
    "expr_create",
    "expr_evaluate",
    "expr_delete",
    "request.path == '/a'",
    "",
];

const HEAD: &str = r#"
(memory (export "memory") 4)
(global $pc (mut i32) (i32.const 0))
(global $end (mut i32) (i32.const 0))
(global $malloc (mut i32) (i32.const 0))
(global $return (mut i32) (i32.const 0))
(global $free (mut i32) (i32.const 0x20000))
(func (export "proxy_abi_version_0_2_1"))
(func (export "_initialize"))
(func $deep (call $deep))
(func $next (result i32)
    (global.set $pc (i32.add (global.get $pc) (i32.const 4)))
    (i32.load (i32.sub (global.get $pc) (i32.const 4))))
(func $load
    (drop (call $f6 (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 16) (i32.const 20)))
    (global.set $pc (i32.load (i32.const 16)))
    (global.set $end (i32.add (i32.load (i32.const 16)) (i32.and (i32.load (i32.const 20)) (i32.const -4)))))
"#;

/// 0: the next bytes; 1: none; 2: always the same; 3: one below 2^32; 4: near it; 5: the last bytes of the memory; 6: grows
/// first; 7: breaks off; 8: asks the host for bytes, which asks for memory; 9: logs; 10: where results are written.
const MALLOC: &str = r#"
(func (export "malloc") (param $size i32) (result i32)
    (if (i32.eq (global.get $malloc) (i32.const 1)) (then (return (i32.const 0))))
    (if (i32.eq (global.get $malloc) (i32.const 2)) (then (return (i32.const 0x10000))))
    (if (i32.eq (global.get $malloc) (i32.const 3)) (then (return (i32.const -1))))
    (if (i32.eq (global.get $malloc) (i32.const 4)) (then (return (i32.const -16))))
    (if (i32.eq (global.get $malloc) (i32.const 5))
        (then (return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)))))
    (if (i32.eq (global.get $malloc) (i32.const 6)) (then (drop (memory.grow (i32.const 1)))))
    (if (i32.eq (global.get $malloc) (i32.const 7)) (then (unreachable)))
    (if (i32.eq (global.get $malloc) (i32.const 8))
        (then (drop (call $f6 (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 16) (i32.const 20)))))
    (if (i32.eq (global.get $malloc) (i32.const 9))
        (then (drop (call $f0 (i32.const 2) (i32.const 0x100) (i32.const 16)))))
    (if (i32.eq (global.get $malloc) (i32.const 10)) (then (return (i32.const 16))))
    (global.set $free (i32.add (global.get $free) (local.get $size)))
    (i32.sub (global.get $free) (local.get $size)))
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn the_calls_in_the_text_are_those_of_the_table() {
        let all = crate::imports::all();
        assert_eq!((all[0].1, all[6].1), ("proxy_log", "proxy_get_buffer_bytes"));
    }
}
