//! Makes a guest of what a case lists: one function for each callback, which makes the calls and logs what comes of them.
//!
//! A line that the guest logs begins with `@` (a callback: its number and its parameters) or `#` (a call: its number, the
//! status, the outputs), all in hexadecimal, separated by colons.

use std::fmt::Write;

use crate::case::{Call, Case, Doing};
use crate::token::{Token, escaped};

/// Callbacks: how a case names them, the export, parameters, result where there is one.
pub(crate) const CALLBACKS: [(&str, &str, usize, Option<i64>); 33] = [
    ("initialize", "_initialize", 0, None),
    ("start", "_start", 0, None),
    ("context_create", "proxy_on_context_create", 2, None),
    ("vm_start", "proxy_on_vm_start", 2, Some(1)),
    ("configure", "proxy_on_configure", 2, Some(1)),
    ("tick", "proxy_on_tick", 1, None),
    ("queue_ready", "proxy_on_queue_ready", 2, None),
    ("request_headers", "proxy_on_request_headers", 3, Some(0)),
    ("request_body", "proxy_on_request_body", 3, Some(0)),
    ("request_trailers", "proxy_on_request_trailers", 2, Some(0)),
    ("response_headers", "proxy_on_response_headers", 3, Some(0)),
    ("response_body", "proxy_on_response_body", 3, Some(0)),
    ("response_trailers", "proxy_on_response_trailers", 2, Some(0)),
    ("call_response", "proxy_on_http_call_response", 5, None),
    ("grpc_initial", "proxy_on_grpc_receive_initial_metadata", 3, None),
    ("grpc_receive", "proxy_on_grpc_receive", 3, None),
    ("grpc_trailing", "proxy_on_grpc_receive_trailing_metadata", 3, None),
    ("grpc_close", "proxy_on_grpc_close", 3, None),
    ("foreign", "proxy_on_foreign_function", 3, None),
    ("redis", "proxy_on_redis_call_response", 4, None),
    ("log", "proxy_on_log", 1, None),
    ("done", "proxy_on_done", 1, Some(1)),
    ("delete", "proxy_on_delete", 1, None),
    ("new_connection", "proxy_on_new_connection", 1, Some(0)),
    ("downstream_data", "proxy_on_downstream_data", 3, Some(0)),
    ("upstream_data", "proxy_on_upstream_data", 3, Some(0)),
    ("downstream_close", "proxy_on_downstream_connection_close", 2, None),
    ("upstream_close", "proxy_on_upstream_connection_close", 2, None),
    ("main", "main", 2, Some(0)),
    ("request_metadata", "proxy_on_request_metadata", 2, Some(0)),
    ("response_metadata", "proxy_on_response_metadata", 2, Some(0)),
    ("validate", "proxy_validate_configuration", 2, Some(1)),
    ("malloc", "malloc", 1, None),
];

/// Where the pair of pointer and size goes that `&` stands for.
const PAIR: u32 = 32;
/// Where the places begin that `*name` and `**name` stand for.
const NAMED: u32 = 64;
/// Where texts begin.
const TEXTS: usize = 0x1000;

/// The calls of a case, in the order of their numbers.
pub(crate) fn calls(case: &Case) -> Vec<&Call> {
    let mut calls = Vec::new();
    for act in &case.acts {
        if let Doing::Call(call) = &act.what {
            calls.push(call);
        }
    }
    calls
}

/// The module in the text form of WebAssembly.
pub(crate) fn module(case: &Case) -> String {
    let mut maker = Maker::default();
    let mut number = 0;
    let mut bodies: Vec<(usize, String)> = Vec::new();
    for act in &case.acts {
        let index = CALLBACKS.iter().position(|(name, ..)| *name == act.callback);
        let index = index.unwrap_or_else(|| panic!("{}: no callback {:?}", case.place, act.callback));
        let at = bodies.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            bodies.push((index, String::new()));
            bodies.len() - 1
        });
        let code = match &act.what {
            Doing::Nothing => String::new(),
            Doing::Trap => "(unreachable)".to_owned(),
            Doing::Return(value) => format!("(return (i32.const {value}))"),
            Doing::Grow(pages) => format!("(drop (memory.grow (i32.const {pages})))"),
            Doing::Call(call) => {
                number += 1;
                maker.call(call, number - 1)
            }
        };
        bodies[at].1.push_str(&code);
    }
    let lacks = |part: &str| case.without.iter().any(|lack| lack == part);
    let mut text =
        String::from("(module (import \"env\" \"proxy_log\" (func $log (param i32 i32 i32) (result i32)))");
    maker.imports.iter().for_each(|import| text.push_str(import));
    text.push_str(&case.imports);
    text.push_str(if lacks("memory") { "(memory 32)" } else { "(memory (export \"memory\") 32)" });
    if !lacks("version") {
        let version = case.abi.replace('.', "_");
        write!(text, "(func (export \"proxy_abi_version_{version}\"))").unwrap();
    }
    text.push_str(HELPERS);
    let malloc =
        bodies.iter().find(|(index, _)| CALLBACKS[*index].0 == "malloc").map(|(_, body)| body.as_str());
    if !lacks("malloc") {
        write!(text, "{MALLOC} {} {GIVE})", malloc.unwrap_or_default()).unwrap();
    }
    for (index, body) in bodies.iter().filter(|(index, _)| CALLBACKS[*index].0 != "malloc") {
        text.push_str(&callback(case, *index, body));
    }
    text.push_str(&maker.data());
    text.push_str(&case.extra);
    text.push(')');
    text
}

fn callback(case: &Case, index: usize, body: &str) -> String {
    let (name, export, mut params, result) = CALLBACKS[index];
    if case.abi == "0.1.0" && name.ends_with("_headers") {
        params = 2;
    }
    let mut text = format!("(func (export \"{export}\")");
    (0..params).for_each(|_| text.push_str("(param i32)"));
    if result.is_some() {
        text.push_str("(result i32)");
    }
    write!(text, "(call $char (i32.const 64)) (call $u32 (i32.const {index}))").unwrap();
    for param in 0..params {
        write!(text, "(call $u32 (local.get {param}))").unwrap();
    }
    text.push_str("(call $flush)");
    text.push_str(body);
    if let Some(result) = result {
        write!(text, "(i32.const {result})").unwrap();
    }
    text.push(')');
    text
}

#[derive(Default)]
struct Maker {
    imports: Vec<String>,
    texts: Vec<u8>,
    names: Vec<String>,
}

impl Maker {
    /// Code that makes a call and logs what comes of it.
    fn call(&mut self, call: &Call, number: usize) -> String {
        let (mut arguments, mut types, mut outputs) = (String::new(), String::new(), String::new());
        let mut push = |code: String, ty: &str| {
            arguments.push_str(&code);
            write!(types, "(param {ty})").unwrap();
        };
        for argument in &call.arguments {
            match argument {
                Token::Number(number, true) => push(format!("(i64.const {number})"), "i64"),
                Token::Number(number, false) => push(format!("(i32.const {})", *number as u32), "i32"),
                Token::Bytes(bytes) => {
                    let at = self.text(bytes);
                    push(format!("(i32.const {at})"), "i32");
                    push(format!("(i32.const {})", bytes.len()), "i32");
                }
                Token::Word(word) if word == "&" => {
                    push(format!("(i32.const {PAIR})"), "i32");
                    push(format!("(i32.const {})", PAIR + 4), "i32");
                    write!(outputs, "(call $pair)").unwrap();
                }
                Token::Word(word) => {
                    if let Some(name) = word.strip_prefix("**") {
                        let at = self.place(name);
                        push(format!("(i32.const {at})"), "i32");
                        write!(outputs, "(call $bytes (i32.const {at}) (i32.const 8))").unwrap();
                    } else if let Some(name) = word.strip_prefix('*') {
                        let at = self.place(name);
                        push(format!("(i32.const {at})"), "i32");
                        write!(outputs, "(call $bytes (i32.const {at}) (i32.const 4))").unwrap();
                    } else if let Some(name) = word.strip_prefix('$') {
                        match name.parse::<u32>() {
                            Ok(local) => push(format!("(local.get {local})"), "i32"),
                            Err(_) => push(format!("(i32.load (i32.const {}))", self.place(name)), "i32"),
                        }
                    } else {
                        panic!("no argument is written {word:?}");
                    }
                }
            }
        }
        let function = self.import(call, &types);
        let set = if call.status.is_some() { "(global.set $status " } else { "(block " };
        format!(
            "(call $clear) {set}(call ${function} {arguments})) (call $char (i32.const 35))
            (call $u32 (i32.const {number})) (call $u32 (global.get $status)) {outputs} (call $flush)\n"
        )
    }

    fn import(&mut self, call: &Call, types: &str) -> String {
        let (module, name) = (call.module, &call.function);
        let function = format!("{module}.{name}.{}", types.matches("param").count());
        let result = if call.status.is_some() { "(result i32)" } else { "" };
        let import = format!("(import \"{module}\" \"{name}\" (func ${function} {types} {result}))\n");
        if !self.imports.contains(&import) {
            self.imports.push(import);
        }
        function
    }

    fn text(&mut self, bytes: &[u8]) -> usize {
        let at = TEXTS + self.texts.len();
        self.texts.extend_from_slice(bytes);
        // So that a host that reads past the end reads something wrong.
        self.texts.extend_from_slice(b"!!");
        at
    }

    fn place(&mut self, name: &str) -> u32 {
        let at = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        NAMED + 8 * u32::try_from(at).unwrap()
    }

    fn data(&self) -> String {
        format!("(data (i32.const {TEXTS}) \"{}\")", escaped(&self.texts))
    }
}

const HELPERS: &str = r#"
(global $at (mut i32) (i32.const 0x80000))
(global $next (mut i32) (i32.const 0x100000))
(global $status (mut i32) (i32.const 0))
(func $char (param i32)
    (i32.store8 (global.get $at) (local.get 0))
    (global.set $at (i32.add (global.get $at) (i32.const 1))))
(func $nibble (param i32)
    (call $char (i32.add (local.get 0)
        (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get 0) (i32.const 9))))))
(func $byte (param i32)
    (call $nibble (i32.and (i32.shr_u (local.get 0) (i32.const 4)) (i32.const 15)))
    (call $nibble (i32.and (local.get 0) (i32.const 15))))
(func $u32 (param i32)
    (call $byte (i32.shr_u (local.get 0) (i32.const 24)))
    (call $byte (i32.shr_u (local.get 0) (i32.const 16)))
    (call $byte (i32.shr_u (local.get 0) (i32.const 8)))
    (call $byte (local.get 0))
    (call $char (i32.const 58)))
(func $bytes (param $p i32) (param $n i32)
    (block $end (loop $more
        (br_if $end (i32.eqz (local.get $n)))
        (call $byte (i32.load8_u (local.get $p)))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $more)))
    (call $char (i32.const 58)))
;; What a pair points to; a pair that was not written is "ee", one of no bytes that points somewhere is "ff".
(func $pair
    (if (i32.eq (i32.load (i32.const 36)) (i32.const 0xeeeeeeee))
        (then (call $bytes (i32.const 32) (i32.const 1)) (return)))
    (if (i32.and (i32.eqz (i32.load (i32.const 36))) (i32.ne (i32.load (i32.const 32)) (i32.const 0)))
        (then (call $byte (i32.const 255)) (call $char (i32.const 58)) (return)))
    (call $bytes (i32.load (i32.const 32)) (i32.load (i32.const 36))))
(func $clear
    (i32.store (i32.const 32) (i32.const 0xeeeeeeee)) (i32.store (i32.const 36) (i32.const 0xeeeeeeee)))
(func $flush
    (drop (call $log (i32.const 2) (i32.const 0x80000) (i32.sub (global.get $at) (i32.const 0x80000))))
    (global.set $at (i32.const 0x80000)))
"#;

const MALLOC: &str = "(func (export \"malloc\") (param i32) (result i32)";
const GIVE: &str = "(global.set $next (i32.add (global.get $next) (local.get 0)))
    (i32.sub (global.get $next) (local.get 0))";
