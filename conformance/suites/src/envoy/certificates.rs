//! Certificates of the listener that asks clients for theirs, made once for both proxies.

use std::path::Path;
use std::sync::LazyLock;

use tidegate_testkit::{Authority, Certificate};

/// The one authority of this run, with what it has issued.
pub(super) struct Issued {
    pub(super) authority: Authority,
    /// The listener's own.
    pub(super) server: Certificate,
    clients: Vec<(&'static str, Certificate)>,
}

pub(super) static ISSUED: LazyLock<Issued> = LazyLock::new(|| {
    let authority = Authority::new();
    let issue = |name| (name, authority.issue(&[name]));
    let (server, clients) =
        (authority.issue(&["a.test"]), ["client.test", "a.shop.test", "evil.test"].map(issue).into());
    Issued { authority, server, clients }
});

impl Issued {
    /// A client's certificate.
    pub(super) fn of(&self, name: &str) -> &Certificate {
        let found = self.clients.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("no certificate was issued for {name}")).1
    }

    /// Writes what a listener needs as files beside its configuration.
    pub(super) fn write(&self, folder: &Path) {
        let files = [
            ("ca.pem", &self.authority.pem()),
            ("own.pem", &self.server.cert),
            ("own.key", &self.server.key),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("the folder was made for it");
        }
    }
}
