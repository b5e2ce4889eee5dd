//! TLS of the admin API and of what it pushes, made before anything changes: bad files refuse the configuration.

use std::path::Path;
use std::sync::Arc;

use tidegate_config::plan::{Admin, ClientTls, ServerTls};
use tidegate_proxy::{Assets, BuildError, ServerSide, client_side};

use crate::assets::{FileBytes, files_of_client, files_of_server};

/// What the admin API speaks TLS with. What did not change is the same as before, so that connections stay.
#[derive(Clone, Default)]
pub(crate) struct AdminTls {
    server: Option<Made<ServerTls, ServerSide>>,
    push: Option<Made<ClientTls, rustls::ClientConfig>>,
}

/// Something with all that it is made of.
struct Made<S, T> {
    settings: S,
    files: Vec<Arc<[u8]>>,
    is: Arc<T>,
}

impl AdminTls {
    /// Of what the settings say; the error has its place in the document.
    pub(super) fn build(
        admin: Option<&Admin>,
        files: &FileBytes,
        before: Option<&Self>,
    ) -> Result<Self, (&'static str, BuildError)> {
        let assets = Assets { files: files.clone(), ..Assets::default() };
        let server = admin.and_then(|admin| admin.tls.as_ref()).map(|tls| {
            let files = bytes(files, files_of_server("", tls));
            let before = before.and_then(|before| before.server.as_ref());
            Made::of(tls, files, before, || ServerSide::build(PLACE, tls, &assets).map(Arc::new))
        });
        let push = admin.and_then(|admin| admin.push.as_ref()?.tls.as_ref()).map(|tls| {
            let files = bytes(files, files_of_client("", tls));
            let before = before.and_then(|before| before.push.as_ref());
            Made::of(tls, files, before, || client_side(tls, &assets))
        });
        Ok(Self {
            server: server.transpose().map_err(|error| ("admin.tls", error))?,
            push: push.transpose().map_err(|error| ("admin.push.tls", error))?,
        })
    }

    /// How clients are served.
    pub(crate) fn server(&self) -> Option<Arc<ServerSide>> {
        self.server.as_ref().map(|made| Arc::clone(&made.is))
    }

    /// How the other gateway is asked.
    pub(crate) fn push(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.push.as_ref().map(|made| Arc::clone(&made.is))
    }
}

impl<S: Clone, T> Clone for Made<S, T> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), files: self.files.clone(), is: Arc::clone(&self.is) }
    }
}

impl<S: Clone + PartialEq, T> Made<S, T> {
    fn of(
        settings: &S,
        files: Vec<Arc<[u8]>>,
        before: Option<&Self>,
        make: impl FnOnce() -> Result<Arc<T>, BuildError>,
    ) -> Result<Self, BuildError> {
        let same = before.filter(|before| before.settings == *settings && before.files == files);
        let is = same.map_or_else(make, |before| Ok(Arc::clone(&before.is)))?;
        Ok(Self { settings: settings.clone(), files, is })
    }
}

fn bytes(files: &FileBytes, named: Vec<(String, &Path)>) -> Vec<Arc<[u8]>> {
    named.into_iter().filter_map(|(_, path)| files.get(path).cloned()).collect()
}

/// What stands for a listener where certificates are told.
const PLACE: &str = "(admin)";
