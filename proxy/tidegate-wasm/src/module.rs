//! A compiled module that has passed all checks: its imports are linked, its callbacks have the
//! right types, it can be asked for memory.

use crate::{LoadError, Names, abi::exports, abi::imports::Imports, state::State};
use std::{fmt, sync::Arc};
use tidegate_abi::AbiVersion;
use wasmtime::{ExternType, FuncType, InstancePre};

/// A checked, compiled filter. Cheap to clone, shared by all workers.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    code: wasmtime::Module,
    digest: String,
    abi: AbiVersion,
    ready: InstancePre<State>,
    exports: Vec<String>,
    places: exports::Places,
    traits: Traits,
    memory: u64,
}

/// What can be told about a module without running it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traits {
    /// It imports a function that depends on header fields, so fields that have gone on must be kept.
    pub(crate) reads_fields: bool,
    /// It imports a function that reads or writes properties.
    pub(crate) uses_properties: bool,
    /// It imports a function that can change a body.
    pub(crate) writes_bodies: bool,
    /// It imports a function that puts bytes into a body at any time.
    pub(crate) injects: bool,
    /// It imports a function that writes log lines.
    pub(crate) logs: bool,
    /// It imports a function that answers a request or breaks it off.
    pub(crate) ends_streams: bool,
    /// It exports [`EXACT_ACTIONS`].
    pub(crate) exact: bool,
}

/// A module that exports a function of this name holds a head to see the body, and lets trailers go on to let all go on,
/// whatever else may wake it.
const EXACT_ACTIONS: &str = "tidegate_exact_actions";

impl Module {
    /// Checks what the engine has compiled and links it.
    pub(crate) fn check<'a>(
        code: wasmtime::Module,
        digest: String,
        imports: impl FnOnce(AbiVersion) -> &'a Imports,
    ) -> Result<Self, LoadError> {
        let abi = abi_version(&code).ok_or(LoadError::NoAbiVersion)?;
        let imports = imports(abi);
        let names = imports.unknown(&code);
        if !names.is_empty() {
            return Err(LoadError::UnknownImports { abi: abi.as_str(), names });
        }
        let callbacks = exports::wrong_callbacks(&code, abi);
        if !callbacks.is_empty() {
            return Err(LoadError::WrongCallback { abi: abi.as_str(), callbacks });
        }
        let memory = match code.get_export("memory") {
            Some(ExternType::Memory(memory)) if !memory.is_64() && !memory.is_shared() => {
                memory.minimum().saturating_mul(memory.page_size())
            }
            _ => return Err(LoadError::NoMemory),
        };
        if exports::MALLOC.iter().all(|name| code.get_export(name).is_none()) {
            return Err(LoadError::NoMalloc);
        }
        let traits = Traits::read(&code);
        let places = exports::Places::of(&code);
        let exports = code.exports().map(|export| export.name().to_owned()).collect();
        let ready = imports.ready(&code).map_err(|error| LoadError::WrongImport(format!("{error:#}")))?;
        Ok(Self { inner: Arc::new(Inner { code, digest, abi, ready, exports, places, traits, memory }) })
    }

    /// The same code with host functions that only refuse, but for those that are allowed.
    pub(crate) fn restricted(&self, imports: &Imports, allowed: &Names) -> Result<Self, LoadError> {
        let Inner { code, digest, abi, exports, traits, memory, .. } = &*self.inner;
        let ready = imports.ready_for(code, allowed);
        let ready = ready.map_err(|error| LoadError::WrongImport(format!("{error:#}")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                code: code.clone(),
                digest: digest.clone(),
                abi: *abi,
                ready,
                exports: exports.clone(),
                places: exports::Places::of(code),
                traits: *traits,
                memory: *memory,
            }),
        })
    }

    /// Digest of the module's bytes: SHA-256 in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// The ABI version that the module names.
    #[must_use]
    pub fn abi(&self) -> AbiVersion {
        self.inner.abi
    }

    /// Bytes of memory at start.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.inner.memory
    }

    /// Where the machine code of each function is, for those who name addresses.
    #[must_use]
    pub fn functions(&self) -> Vec<FunctionCode> {
        functions(&self.inner.code)
    }

    pub(crate) fn has_export(&self, name: &str) -> bool {
        self.inner.exports.iter().any(|export| export == name)
    }

    pub(crate) fn traits(&self) -> Traits {
        self.inner.traits
    }

    pub(crate) fn places(&self) -> &exports::Places {
        &self.inner.places
    }

    pub(crate) fn ready(&self) -> &InstancePre<State> {
        &self.inner.ready
    }
}

/// A function of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCode {
    /// Its first address.
    pub start: usize,
    /// The address behind it.
    pub end: usize,
    /// As the module calls it, else by its number.
    pub name: String,
}

/// Where the functions of compiled code are.
pub(crate) fn functions(code: &wasmtime::Module) -> Vec<FunctionCode> {
    let start = code.text().as_ptr().addr();
    let one = |function: wasmtime::ModuleFunction| FunctionCode {
        start: start + function.offset,
        end: start + function.offset + function.len,
        name: function.name.unwrap_or_else(|| format!("function {}", function.index.as_u32())),
    };
    code.functions().map(one).collect()
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("digest", &self.inner.digest).field("abi", &self.inner.abi).finish()
    }
}

impl Traits {
    fn read(code: &wasmtime::Module) -> Self {
        let exact = code.exports().any(|export| export.name() == EXACT_ACTIONS);
        let mut traits = Self { exact, ..Self::default() };
        for import in code.imports() {
            match import.name() {
                "proxy_get_header_map_value" | "proxy_get_header_map_pairs" | "proxy_get_header_map_size" => {
                    traits.reads_fields = true
                }
                // The form of an answer depends on the request's content-type.
                "proxy_send_local_response" => {
                    traits.reads_fields = true;
                    traits.ends_streams = true;
                }
                "proxy_close_stream" => traits.ends_streams = true,
                // Expressions are foreign functions, and read properties.
                "proxy_get_property" | "proxy_call_foreign_function" => {
                    traits.reads_fields = true;
                    traits.uses_properties = true;
                }
                "proxy_set_property" => traits.uses_properties = true,
                "proxy_set_buffer_bytes" => traits.writes_bodies = true,
                "proxy_inject_encoded_data_to_filter_chain" => {
                    traits.writes_bodies = true;
                    traits.injects = true;
                }
                "proxy_log" | "fd_write" => traits.logs = true,
                _ => {}
            }
        }
        traits
    }
}

/// The first exported function with a version's name decides.
fn abi_version(code: &wasmtime::Module) -> Option<AbiVersion> {
    code.exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(_)))
        .find_map(|export| AbiVersion::from_export(export.name()))
}

/// A function's type as people write it.
pub(crate) fn describe(ty: &FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
        types.map(|ty| ty.to_string()).collect::<Vec<_>>()
    };
    let (params, results) = (list(&mut ty.params()).join(", "), list(&mut ty.results()).join(", "));
    format!("({params}) -> ({results})")
}
