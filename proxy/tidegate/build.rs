//! Embeds the first-party filters that `cargo xtask filters` has built. Without them the binary works, but has no
//! `builtin:` modules and no demo.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// Name after `builtin:`, and the file that holds the module.
const MODULES: [(&str, &str); 8] = [
    ("api-key", "api_key.wasm"),
    ("auth", "auth.wasm"),
    ("cache", "cache.wasm"),
    ("cors", "cors.wasm"),
    ("fault", "fault.wasm"),
    ("rate-limit", "rate_limit.wasm"),
    ("routing", "routing.wasm"),
    ("transform", "transform.wasm"),
];

fn main() -> io::Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let folder = Path::new(&manifest).join("../../target/filters");
    // Cargo runs this script at each build while the watched folder is missing; an empty one is enough.
    fs::create_dir_all(&folder)?;
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rerun-if-changed=build.rs");

    let mut list = String::from("static MODULES: &[(&str, &[u8])] = &[\n");
    for (name, file) in MODULES {
        let path = folder.join(file);
        if path.is_file() {
            let path = path.canonicalize()?;
            writeln!(list, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
        }
    }
    list.push_str("];\n");
    fs::write(Path::new(&out).join("builtin.rs"), list)
}
