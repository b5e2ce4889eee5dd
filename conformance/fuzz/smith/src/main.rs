//! Writes modules that wasm-smith makes from seeds: our imports, our callbacks, random code in them.
//!
//!     cargo run --manifest-path conformance/fuzz/smith/Cargo.toml -- FOLDER FIRST COUNT

#[path = "../../src/imports.rs"]
mod imports;
#[path = "../../src/random.rs"]
mod random;

use std::fmt::Write;
use std::path::Path;

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

use imports::{CALLBACKS, all, parameters};
use random::Random;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, first, count] = arguments.as_slice() else { panic!("arguments: FOLDER FIRST COUNT") };
    let (first, count): (u64, u64) = (first.parse().expect("a seed"), count.parse().expect("a count"));
    for seed in first..first + count {
        if let Some(wasm) = module(&mut Random::new(seed)) {
            let path = Path::new(folder).join(format!("smith-{seed}.wasm"));
            std::fs::write(&path, wasm).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// A module; none where the seed's bytes make none.
fn module(random: &mut Random) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = (0..2048).flat_map(|_| random.next().to_le_bytes()).collect();
    let config = Config {
        module_shape: Some(wat::parse_str(shape(random)).unwrap()),
        max_memory32_bytes: 1 << 20,
        allow_start_export: random.once_in(4),
        max_instructions: 300,
        memory64_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        max_tables: 1,
        exceptions_enabled: false,
        tail_call_enabled: false,
        relaxed_simd_enabled: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    module.ensure_termination(10_000).ok()?;
    Some(module.to_bytes())
}

/// Some of the imports and most of the callbacks: what the module must look like.
fn shape(random: &mut Random) -> String {
    let mut text = String::from("(module\n");
    for (module, name, params) in all() {
        if random.once_in(3) {
            let params = parameters(params);
            writeln!(text, "(import \"{module}\" \"{name}\" (func {params} (result i32)))").unwrap();
        }
    }
    text.push_str("(memory (export \"memory\") 2)\n(func (export \"proxy_abi_version_0_2_1\"))\n");
    for (name, params, result) in CALLBACKS {
        // A guest that answers false at its start is not seen again, so most have no say there.
        let at_start = ["proxy_on_vm_start", "proxy_on_configure", "proxy_on_context_create"].contains(&name);
        if name != "malloc"
            && random.once_in(if at_start { 1 } else { 6 })
            && !(at_start && random.once_in(8))
        {
            continue;
        }
        let params = parameters(&"i".repeat(params));
        let (ty, value) = if result { ("(result i32)", "(i32.const 0)") } else { ("", "") };
        writeln!(text, "(func (export \"{name}\") {params} {ty} {value})").unwrap();
    }
    text.push(')');
    text
}
