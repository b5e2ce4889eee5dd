//! The bytes of a plugin's module: from this machine or from what was fetched, checked before they are compiled.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_config::plan::{self, ModuleSource};

use crate::assets::{self, ModuleBytes};
use crate::fetch::{Library, Shelved, Wanted};
use crate::files::Files;
use crate::module::signature::{self, PublicKey};

/// Why a plugin cannot be built now.
#[derive(Debug)]
pub(crate) enum Miss {
    /// Its module has not come yet.
    Away(Box<Wanted>),
    /// It is wrong.
    Failed(String),
}

impl From<String> for Miss {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Finds modules; each file is read once.
pub(crate) struct Sources<'a> {
    library: &'a Library,
    files: &'a mut Files,
    read: HashMap<(ModuleSource, Option<String>), Result<Arc<ModuleBytes>, String>>,
}

impl<'a> Sources<'a> {
    /// Reads through `files`, so that what is read is watched.
    pub(crate) fn new(library: &'a Library, files: &'a mut Files) -> Self {
        Self { library, files, read: HashMap::new() }
    }

    /// The module of a plugin.
    pub(crate) fn module(&mut self, spec: &plan::Plugin) -> Result<Arc<ModuleBytes>, Miss> {
        let fetch = &spec.loading.fetch;
        fetch.ca.iter().chain(&fetch.pull_secret).for_each(|path| self.files.note(path));
        let module = match Wanted::of(spec) {
            None => self.local(spec)?,
            Some(wanted) => match self.library.find(&wanted) {
                Shelved::Here(module) => module,
                Shelved::Away => return Err(Miss::Away(Box::new(wanted))),
            },
        };
        if let Some(key) = &spec.loading.signature {
            self.verify(&module, key)?;
        }
        Ok(module)
    }

    fn verify(&mut self, module: &ModuleBytes, key: &Path) -> Result<(), String> {
        let shown = key.display();
        let pem = self.files.read(key, assets::LARGEST_PEM);
        let pem = pem.map_err(|error| format!("cannot read the key {shown}: {error}"))?;
        let keys = PublicKey::read_all(&pem).map_err(|why| format!("the key {shown}: {why}"))?;
        signature::verify(&module.bytes, &keys).map(drop)
    }

    fn local(&mut self, spec: &plan::Plugin) -> Result<Arc<ModuleBytes>, String> {
        let key = (spec.module.clone(), spec.sha256.clone());
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let read = assets::module(&spec.module, spec.sha256.as_deref(), self.files).map(Arc::new);
        self.read.insert(key, read.clone());
        read
    }
}
