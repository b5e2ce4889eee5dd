//! The image of a configured instance: a second module whose memory, globals and tables begin as the first one's were
//! after `proxy_on_configure`. Its instances need neither start nor configuration, so that each connection or request
//! can have one of its own.
//!
//! The image is made in three steps, off the workers: the module is compiled with its state exported (`parts.rs`), an
//! instance of that is started and configured, and what it holds is written into a module of the same code
//! (`rewrite.rs`) that is compiled for the engine of isolated instances. Images are never kept on disk: configurations
//! hold secrets.

mod beginning;
mod parts;
mod rewrite;
mod snapshot;

use crate::{Instance, LoadError, Module, Now, Plugin, StartError, foreign::Definitions, state::Metrics};
use beginning::Beginning;
use http::request;
use parts::Parts;
use std::sync::Arc;

/// Bytes of memory that an image may have: each plugin has its own.
const IMAGE_BYTES: usize = 256 << 20;

/// Why there is no image of a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The module keeps state that cannot be read from outside.
    #[error("no image can be taken of the module: {0}")]
    Unfit(String),
    /// The module with its state exported, or the image, was refused.
    #[error("the image cannot be compiled: {0}")]
    Load(#[from] LoadError),
    /// The instance whose image was to be taken did not start.
    #[error("the image cannot be taken: {0}")]
    Start(#[from] StartError),
}

/// What instances of a plugin begin as.
pub struct Image {
    module: Module,
    metrics: Arc<Metrics>,
    definitions: Arc<Definitions>,
    beginning: Option<Beginning>,
}

impl Image {
    /// Takes the image of `plugin`, of whose module `wasm` are the bytes.
    ///
    /// # Errors
    /// When none can be taken.
    pub(crate) fn take(plugin: &Plugin, wasm: &[u8], now: Now) -> Result<Self, ImageError> {
        let parts = Parts::read(wasm).map_err(ImageError::Unfit)?;
        let engine = &plugin.engine;
        let open = engine.compile(&rewrite::opened(&parts))?;
        let spec = crate::PluginSpec { module: open, ..plugin.spec.clone() };
        let model = Arc::new(Plugin::build(engine, spec, plugin.space.shared().clone())?);
        let mut instance = Instance::start(&model, now)?;
        if instance.memory_bytes() > IMAGE_BYTES {
            let bytes = instance.memory_bytes();
            return Err(ImageError::Unfit(format!(
                "it has {bytes} bytes of memory once it is configured, an image may have {IMAGE_BYTES}"
            )));
        }
        let allowed = plugin.spec.capabilities.functions.as_ref();
        let taken = snapshot::take(&parts, &mut instance).map_err(ImageError::Unfit)?;
        let wasm = rewrite::filled(&parts, &taken).map_err(ImageError::Unfit)?;
        let module = engine.compile_image(&wasm, plugin.module().digest(), allowed)?;
        let beginning = Beginning::of(&parts, taken, &module);
        Ok(Self { module, metrics: instance.metrics(), definitions: instance.definitions(), beginning })
    }

    /// The code of instances that begin as this image.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// None when a used instance cannot be made what it was.
    pub(crate) fn beginning(&self) -> Option<&Beginning> {
        self.beginning.as_ref()
    }

    pub(crate) fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// As [`Instance::passes_over`] for instances that begin as this image.
    #[must_use]
    pub fn passes_over(&self, head: &request::Parts, adds: impl Fn(&[u8]) -> bool) -> bool {
        self.definitions.pass_over(head, adds)
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("module", &self.module).finish_non_exhaustive()
    }
}
