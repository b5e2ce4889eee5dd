//! Where a plugin's module comes from: the forms of `module`, and `fetch`, `signature` and `tests`.

use super::Check;
use crate::document::{
    CanaryDocument, FetchDocument, PluginDocument, PluginTestDocument, PullPolicy, TestRequestDocument,
};
use crate::node::Path;
use crate::plan::{Expect, Fetch, Loading, ModuleSource, OciReference, PluginTest, Pull};
use crate::problem::Fault;
use crate::types::{check_header_value, check_method, check_name, parse_header_name, parse_server};
use std::collections::BTreeMap;

/// The module's place and all that is asked of it.
pub(super) fn loading(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PluginDocument,
) -> (ModuleSource, Loading) {
    let source = module(check, &path.key("module"), &written.module);
    if matches!(source, ModuleSource::Https(_)) && written.sha256.is_none() {
        let fault = Fault::new("a module from https:// needs the digest that it must have");
        check.fault(path, fault.hint("sha256: the 64 hexadecimal digits that sha256sum prints for it"));
    }
    let fetch = fetch(check, &path.key("fetch"), &source, written.fetch.as_ref());
    let signature = written.signature.as_ref().map(|signature| {
        let place = path.key("signature");
        check.file(&place.key("key"), &signature.key)
    });
    let section = path.key("tests");
    let tests = written.tests.iter().enumerate();
    let tests = tests.map(|(index, test)| plugin_test(check, &section.index(index), test)).collect();
    (source, Loading { fetch, signature, tests })
}

/// The place of another version's module, and how it is fetched: as the plugin's own, where both are.
pub(super) fn canary_module(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (own, written): (&PluginDocument, &CanaryDocument),
) -> (ModuleSource, Fetch) {
    let place = path.key("canary");
    let source = module(check, &place.key("module"), &written.module);
    if matches!(source, ModuleSource::Https(_)) && written.sha256.is_none() {
        let fault = Fault::new("a module from https:// needs the digest that it must have");
        check.fault(&place, fault.hint("sha256: the 64 hexadecimal digits that sha256sum prints for it"));
    }
    let fetched = matches!(source, ModuleSource::Https(_) | ModuleSource::Oci(_));
    let fetch = fetch(check, &path.key("fetch"), &source, own.fetch.as_ref().filter(|_| fetched));
    (source, fetch)
}

fn module(check: &mut Check<'_>, path: &Path<'_>, text: &str) -> ModuleSource {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match (text.strip_prefix("builtin:"), scheme) {
        (Some(name), _) => {
            if name.is_empty() || check_name(name).is_err() {
                check.fault(
                    path,
                    Fault::new(format!("{text:?} names no filter")).hint("for instance builtin:auth"),
                );
            }
            ModuleSource::Builtin(name.to_owned())
        }
        (None, Some("https")) => {
            check.take(path, check_url(text));
            ModuleSource::Https(text.to_owned())
        }
        (None, Some("oci")) => match parse_reference(text) {
            Ok(reference) => ModuleSource::Oci(reference),
            Err(fault) => {
                check.fault(path, fault);
                ModuleSource::File(check.base.join(text))
            }
        },
        (None, Some("http")) => {
            let fault = Fault::new(format!("{text:?} is not where a module can come from: no TLS"));
            check.fault(path, fault.hint("https://, with sha256 beside it"));
            ModuleSource::File(check.base.join(text))
        }
        (None, Some(_)) => {
            let fault = Fault::new(format!("{text:?} is not where a module can come from"));
            check.fault(path, fault.hint("a file name, builtin:NAME, https://… or oci://…"));
            ModuleSource::File(check.base.join(text))
        }
        (None, None) => ModuleSource::File(check.file(path, text)),
    }
}

/// An `https://` URL as requests are made of: a host, visible ASCII, no user, no fragment.
fn check_url(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a URL of a module: {why}"));
    let rest = text.strip_prefix("https://").unwrap_or(text);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '\\' | '"')) {
        return Err(fault(&format!("it has the character {other:?}")));
    }
    if authority.contains('@') {
        return Err(fault("it has a user's name").hint("modules are fetched without credentials"));
    }
    check_authority(authority).map_err(|()| fault("it has no valid host"))
}

/// Host and maybe port.
fn check_authority(text: &str) -> Result<(), ()> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let whole = if has_port { text.to_owned() } else { format!("{text}:443") };
    parse_server(&whole).map(drop).map_err(drop)
}

/// Reads `oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`, as it is written in a document.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn oci_reference(text: &str) -> Result<OciReference, String> {
    parse_reference(text).map_err(|fault| match fault.hint {
        Some(hint) => format!("{} ({hint})", fault.message),
        None => fault.message,
    })
}

/// Whether a registry is on this machine, where it needs no TLS.
#[must_use]
pub fn is_local_registry(registry: &str) -> bool {
    is_loopback(registry)
}

fn parse_reference(text: &str) -> Result<OciReference, Fault> {
    let fault = |why: &str| {
        Fault::new(format!("{text:?} is not a module of a registry: {why}"))
            .hint("oci://registry.example.com/filters/auth:v1, or …@sha256:DIGEST instead of the tag")
    };
    let rest = text.strip_prefix("oci://").unwrap_or(text);
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (rest, None),
    };
    if let Some(digest) = digest {
        let digits = digest.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() != 64 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fault("the digest is not sha256: and 64 hexadecimal digits in lower case"));
        }
    }
    let (registry, rest) = rest.split_once('/').ok_or_else(|| fault("it names no repository"))?;
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    check_authority(registry).map_err(|()| fault("it has no valid host"))?;
    let segment = |segment: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let bytes = segment.as_bytes();
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|b| inside(*b))
    };
    if repository.len() > 255 || !repository.split('/').all(segment) {
        return Err(fault("a repository has lower-case letters, digits and . _ - between slashes"));
    }
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_tag =
        |tag: &str| (1..=128).contains(&tag.len()) && tag.bytes().all(inside) && !tag.starts_with(['.', '-']);
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(fault("a tag has up to 128 letters, digits and . _ -"));
    }
    Ok(OciReference {
        registry: registry.to_ascii_lowercase(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

fn fetch(
    check: &mut Check<'_>,
    path: &Path<'_>,
    source: &ModuleSource,
    written: Option<&FetchDocument>,
) -> Fetch {
    let default = Fetch::default();
    let reference = match source {
        ModuleSource::Oci(reference) => Some(reference),
        ModuleSource::Https(_) => None,
        ModuleSource::File(_) | ModuleSource::Builtin(_) => {
            if written.is_some() && check.intact(path) {
                let fault = Fault::new("fetch has no meaning here: the module is not fetched");
                check.fault(path, fault.hint("leave it out, or a module from https:// or oci://"));
            }
            return default;
        }
    };
    let of_registries = written.and_then(|fetch| {
        let pull = fetch.pull.map(|_| "pull");
        let refresh = fetch.refresh.map(|_| "refresh");
        let secret = fetch.pull_secret.as_ref().map(|_| "pullSecret");
        pull.or(refresh).or(secret).or(fetch.plain_http.map(|_| "plainHttp"))
    });
    if let (None, Some(key)) = (reference, of_registries) {
        let fault = Fault::new(format!("{key} is for modules from oci:// only"));
        check.fault(&path.key(key), fault.hint("leave it out"));
    }
    let moves = reference.is_some_and(|found| found.digest.is_none() && found.version() == "latest");
    let is_local = reference.is_some_and(|found| is_loopback(&found.registry));
    let ca = written.and_then(|fetch| fetch.ca.as_ref()).map(|ca| check.file(&path.key("ca"), ca));
    if ca.is_some() && written.and_then(|fetch| fetch.plain_http) == Some(true) {
        let fault = Fault::new("ca has no meaning here: plainHttp is HTTP without TLS");
        check.fault(&path.key("ca"), fault.hint("leave one of both out"));
    }
    let secret = written.and_then(|fetch| fetch.pull_secret.as_ref());
    let pull = match written.and_then(|fetch| fetch.pull) {
        Some(PullPolicy::Always) => Pull::Always,
        Some(PullPolicy::IfNotPresent) => Pull::IfNotPresent,
        None if moves => Pull::Always,
        None => Pull::IfNotPresent,
    };
    let (refresh, timeout) = (written.and_then(|f| f.refresh), written.and_then(|f| f.timeout));
    Fetch {
        pull,
        refresh: check.positive(&path.key("refresh"), refresh, default.refresh),
        timeout: check.positive(&path.key("timeout"), timeout, default.timeout),
        plain_http: written.and_then(|fetch| fetch.plain_http).unwrap_or(is_local && ca.is_none()),
        ca,
        pull_secret: secret.map(|secret| check.file(&path.key("pullSecret"), secret)),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn plugin_test(check: &mut Check<'_>, path: &Path<'_>, written: &PluginTestDocument) -> PluginTest {
    let nothing = TestRequestDocument::default();
    let request = written.request.as_ref().unwrap_or(&nothing);
    let place = path.key("request");
    let method = request.method.clone().unwrap_or_else(|| "GET".to_owned());
    check.take(&place.key("method"), check_method(&method));
    let target = request.path.clone().unwrap_or_else(|| "/".to_owned());
    if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) || target.contains('#') {
        let fault = Fault::new(format!("{target:?} is not a path"));
        check.fault(&place.key("path"), fault.hint("it begins with / and has visible ASCII characters only"));
    }
    let host = request.host.clone().unwrap_or_else(|| "localhost".to_owned());
    if check_authority(&host).is_err() {
        let fault = Fault::new(format!("{host:?} is not a host"));
        check.fault(&place.key("host"), fault.hint("for instance shop.example.com"));
    }
    let headers = fields(check, &place.key("headers"), &request.headers);
    let expect = path.key("expect");
    if let Some(status) = written.expect.status.filter(|status| !(200..600).contains(status)) {
        let fault = Fault::new(format!("{status} is not the status of an answer"));
        check.fault(&expect.key("status"), fault.hint("200 to 599"));
    }
    let absent = expect.key("absent");
    let absent =
        written.expect.absent.iter().enumerate().map(|(index, name)| {
            check.take(&absent.index(index), parse_header_name(name)).unwrap_or_default()
        });
    let absent = absent.collect();
    PluginTest {
        method,
        host,
        path: target,
        headers,
        body: request.body.clone().unwrap_or_default(),
        expect: Expect {
            status: written.expect.status,
            headers: fields(check, &expect.key("headers"), &written.expect.headers),
            absent,
            body: written.expect.body.clone(),
        },
    }
}

fn fields(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (name, value) in written {
        let place = path.key(name);
        check.take(&place, check_header_value(value));
        fields.extend(check.take(&place, parse_header_name(name)).map(|name| (name, value.clone())));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, repository, version) in [
            ("oci://ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1"),
            ("oci://localhost:5000/a", "localhost:5000", "a", "latest"),
            ("oci://[::1]:5000/a-b/c_d:1.0", "[::1]:5000", "a-b/c_d", "1.0"),
            (&format!("oci://r.test/a:v1@{digest}"), "r.test", "a", &digest),
            (&format!("oci://R.test/a@{digest}"), "r.test", "a", &digest),
        ] {
            let found = parse_reference(text).expect(text);
            assert_eq!(
                (&*found.registry, &*found.repository, found.version()),
                (registry, repository, version)
            );
        }
    }

    #[test]
    fn other_references_are_refused() {
        for text in [
            "oci://",
            "oci://registry",
            "oci:///a",
            "oci://r.test/",
            "oci://r.test/A",
            "oci://r.test/a//b",
            "oci://r.test/a/../b",
            "oci://r.test/a:",
            "oci://r.test/a:b c",
            "oci://r.test/a@sha256:12",
            "oci://r.test/a@md5:12",
            "oci://user@r.test/a",
            "oci://r.test:x/a",
        ] {
            assert!(parse_reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (registry, expected) in [
            ("localhost:5000", true),
            ("127.0.0.9", true),
            ("[::1]:1", true),
            ("10.0.0.1", false),
            ("r", false),
        ] {
            assert_eq!(is_loopback(registry), expected, "{registry}");
        }
    }
}
