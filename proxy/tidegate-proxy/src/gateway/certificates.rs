//! Certificates that clients are shown.

use std::path::PathBuf;

use serde::Serialize;

use super::Gateway;
use crate::http::certificate;
use crate::snapshot::Snapshot;

/// A certificate of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateUse {
    /// The listener's name.
    pub listener: String,
    /// Where it was read from.
    pub file: PathBuf,
    /// Whom it is for (RFC 4514).
    pub subject: String,
    /// DNS names that it is for.
    pub names: Vec<String>,
    /// Who made it.
    pub issuer: String,
    /// From when it may be used, in seconds since the Unix epoch.
    pub not_before: f64,
    /// Until when, in seconds since the Unix epoch.
    pub not_after: f64,
    /// In hexadecimal.
    pub sha256: String,
}

impl Gateway {
    /// The certificates that clients are shown now.
    pub fn certificates(&self) -> Vec<CertificateUse> {
        self.snapshot().map(|snapshot| of(&snapshot)).unwrap_or_default()
    }
}

fn of(snapshot: &Snapshot) -> Vec<CertificateUse> {
    let mut all = Vec::new();
    for listener in &snapshot.listeners {
        let (Some(tls), Some(names)) = (&listener.spec.tls, &listener.names) else { continue };
        for (files, leaf) in tls.certificates.iter().zip(names.leaves()) {
            let details = certificate::details(leaf);
            let Some(term) = certificate::term(leaf) else { continue };
            all.push(CertificateUse {
                listener: listener.spec.name.clone(),
                file: files.cert.clone(),
                subject: details.subject,
                names: details.names,
                issuer: term.issuer,
                not_before: term.not_before.as_secs_f64(),
                not_after: term.not_after.as_secs_f64(),
                sha256: details.sha256,
            });
        }
    }
    all
}
