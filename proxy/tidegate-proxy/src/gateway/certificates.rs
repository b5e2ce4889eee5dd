//! Certificates that clients are shown.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use tidegate_config::plan::{CertificateFiles, ServerTls};

use super::Gateway;
use crate::http::certificate;
use crate::snapshot::Snapshot;
use crate::snapshot::tls::ByName;

/// A certificate of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateUse {
    /// The listener's name; `(admin)`: the admin API.
    pub listener: String,
    /// Where it was read from.
    pub file: PathBuf,
    /// Whom it is for (RFC 4514).
    pub subject: String,
    /// DNS names and addresses that it is for.
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
        if let (Some(tls), Some(names)) = (&listener.spec.tls, &listener.names) {
            all.extend(of_files(&listener.spec.name, tls, names));
        }
    }
    all
}

/// The certificates of one place.
pub(super) fn of_files(name: &str, tls: &ServerTls, names: &ByName) -> Vec<CertificateUse> {
    let one = |(files, leaf): (&CertificateFiles, &CertificateDer<'static>)| {
        let (details, term) = (certificate::details(leaf), certificate::term(leaf)?);
        Some(CertificateUse {
            listener: name.to_owned(),
            file: files.cert.clone(),
            subject: details.subject,
            names: certificate::names(leaf),
            issuer: term.issuer,
            not_before: term.not_before.as_secs_f64(),
            not_after: term.not_after.as_secs_f64(),
            sha256: details.sha256,
        })
    };
    tls.certificates.iter().zip(names.leaves()).filter_map(one).collect()
}
