//! Fetches what a plan names: certificates, keys, authorities and modules from files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tidegate_config::plan::{ClientTls, LogTarget, ModuleSource, Plan, ServerTls};
use tidegate_config::{Problem, Severity};

use crate::builtin;
use crate::fetch::LARGEST_MODULE;
use crate::files::Files;

/// SHA-256 of a file's bytes.
pub(crate) type Digest = [u8; 32];

/// The bytes of certificates, keys and authorities by path.
pub(crate) type FileBytes = HashMap<PathBuf, Arc<[u8]>>;

/// A module and its digest.
#[derive(Debug)]
pub(crate) struct ModuleBytes {
    pub(crate) bytes: Cow<'static, [u8]>,
    pub(crate) digest: Digest,
}

/// Makes problems of one configuration.
pub(crate) struct Reporter<'a> {
    /// What the configuration is called.
    pub(crate) source: &'a str,
    /// Where problems are collected.
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Reporter<'_> {
    /// A problem at a place of the document.
    pub(crate) fn report(&mut self, path: impl Into<String>, message: impl Into<String>, hint: Option<&str>) {
        self.problems.push(Problem {
            source: self.source.to_owned(),
            line: None,
            path: path.into(),
            message: message.into(),
            hint: hint.map(str::to_owned),
            severity: Severity::Error,
        });
    }
}

/// Reads every certificate, key and authority that the plan names.
pub(crate) fn read_files(plan: &Plan, files: &mut Files, reporter: &mut Reporter<'_>) -> FileBytes {
    let mut found = FileBytes::new();
    for (at, path) in named_files(plan) {
        if found.contains_key(path) {
            continue;
        }
        match files.read(path, LARGEST_PEM) {
            Ok(bytes) => {
                found.insert(path.to_owned(), bytes.into());
            }
            Err(error) => reporter.report(at, format!("cannot read {}: {error}", path.display()), None),
        }
    }
    found
}

/// The files with their places in the document.
pub(crate) fn named_files(plan: &Plan) -> Vec<(String, &Path)> {
    let mut named: Vec<(String, &Path)> = Vec::new();
    for (index, listener) in plan.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        named.extend(files_of_server(&format!("listeners[{index}].tls"), tls));
    }
    for upstream in &plan.upstreams {
        let Some(tls) = &upstream.tls else { continue };
        named.extend(files_of_client(&format!("upstreams.{}.tls", upstream.name), tls));
    }
    let logs = plan.access_logs.iter().filter_map(|log| match &log.target {
        LogTarget::Otlp(otlp) => Some(("accessLog", otlp)),
        LogTarget::File(_) | LogTarget::Syslog(_) => None,
    });
    let traces = plan.tracing.iter().map(|tracing| ("tracing", &tracing.otlp));
    let metrics = plan.metrics.iter().map(|metrics| ("metrics", &metrics.otlp));
    for (at, otlp) in logs.chain(traces).chain(metrics) {
        let Some(tls) = &otlp.tls else { continue };
        named.extend(files_of_client(&format!("{at}.otlp.tls"), tls));
    }
    if let Some(admin) = &plan.admin {
        named.extend(admin.tls.iter().flat_map(|tls| files_of_server("admin.tls", tls)));
        let push = admin.push.iter().filter_map(|push| push.tls.as_ref());
        named.extend(push.flat_map(|tls| files_of_client("admin.push.tls", tls)));
    }
    named
}

/// The files of a place that is served by TLS, with theirs in the document.
pub(crate) fn files_of_server<'a>(at: &str, tls: &'a ServerTls) -> Vec<(String, &'a Path)> {
    let mut named: Vec<(String, &Path)> = Vec::new();
    for (number, certificate) in tls.certificates.iter().enumerate() {
        let at = format!("{at}.certificates[{number}]");
        named.push((format!("{at}.cert"), &certificate.cert));
        named.push((format!("{at}.key"), &certificate.key));
    }
    named.extend(tls.client_auth.iter().map(|auth| (format!("{at}.clientAuth.ca"), auth.ca.as_path())));
    named
}

/// The files of what is asked by TLS.
pub(crate) fn files_of_client<'a>(at: &str, tls: &'a ClientTls) -> Vec<(String, &'a Path)> {
    let mut named: Vec<(String, &Path)> = Vec::new();
    named.extend(tls.ca.iter().map(|ca| (format!("{at}.ca"), ca.as_path())));
    if let Some(certificate) = &tls.certificate {
        named.push((format!("{at}.clientCertificate.cert"), &certificate.cert));
        named.push((format!("{at}.clientCertificate.key"), &certificate.key));
    }
    named
}

/// Reads a module of this machine and checks that it is the one that was meant.
pub(crate) fn module(
    source: &ModuleSource,
    sha256: Option<&str>,
    files: &mut Files,
) -> Result<ModuleBytes, String> {
    let mut read = |path: &Path| match files.read(path, LARGEST_MODULE) {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    };
    let bytes: Cow<'static, [u8]> = match source {
        ModuleSource::File(path) => read(path)?.into(),
        ModuleSource::Builtin(name) => match builtin::find(name)? {
            builtin::Builtin::Embedded(bytes) => bytes.into(),
            builtin::Builtin::File(path) => read(&path)?.into(),
        },
        ModuleSource::Https(_) | ModuleSource::Oci(_) => {
            return Err("the module comes over the network, not from this machine".to_owned());
        }
    };
    checked(bytes, sha256)
}

/// A module, if it is the one that was meant.
pub(crate) fn checked(bytes: Cow<'static, [u8]>, sha256: Option<&str>) -> Result<ModuleBytes, String> {
    let digest = digest(&bytes);
    match sha256 {
        Some(wanted) if !wanted.eq_ignore_ascii_case(&hex(&digest)) => {
            Err(format!("the module's sha256 is {}, not {wanted}", hex(&digest)))
        }
        _ => Ok(ModuleBytes { bytes, digest }),
    }
}

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what [`hex`] writes.
pub(crate) fn parse_hex(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Largest certificate, key or authority file.
pub(crate) const LARGEST_PEM: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_module_must_have_the_digest_that_is_asked_for() {
        let scratch = Scratch::new("assets-digest");
        let source = ModuleSource::File(scratch.write("a.wasm", "abc"));
        let mut files = Files::default();
        for wanted in [None, Some(ABC), Some(ABC.to_uppercase().as_str())] {
            let module = module(&source, wanted, &mut files).map(|module| hex(&module.digest));
            assert_eq!(module.as_deref(), Ok(ABC), "{wanted:?}");
        }
        let why = module(&source, Some("00"), &mut files).expect_err("another digest");
        assert_eq!(why, format!("the module's sha256 is {ABC}, not 00"));
    }

    #[test]
    fn an_unknown_builtin_is_named() {
        let source = ModuleSource::Builtin("nothing".to_owned());
        let why = module(&source, None, &mut Files::default()).expect_err("there is none");
        assert!(why.contains("no builtin module \"nothing\""), "{why}");
        assert_eq!(parse_hex(ABC).map(|digest| hex(&digest)).as_deref(), Some(ABC));
        assert_eq!((parse_hex("00"), parse_hex(&"é".repeat(32))), (None, None));
    }
}
