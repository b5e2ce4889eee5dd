//! `capabilities` of a plugin: lists of names that must be able to fit something.

use crate::check::Check;
use crate::check::upstream::Upstreams;
use crate::document::{BodyAccessDocument, Capabilities as Written, FieldAccessDocument};
use crate::node::Path;
use crate::plan::{BodyAccess, Capabilities, FOREIGN_FUNCTIONS, FieldAccess};
use crate::problem::{Fault, guess};

/// The plan's form of what is written.
pub(super) fn check(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&Written>,
    upstreams: &Upstreams,
) -> Capabilities {
    let Some(written) = written else { return Capabilities::default() };
    let section = path.key("forwardTo");
    for (index, name) in written.forward_to.iter().flatten().enumerate() {
        upstreams.find_for_requests(check, &section.index(index), name);
    }
    Capabilities {
        functions: functions(check, &path.key("functions"), written.functions.as_deref()),
        request_headers: fields(check, &path.key("requestHeaders"), written.request_headers.as_ref()),
        response_headers: fields(check, &path.key("responseHeaders"), written.response_headers.as_ref()),
        request_body: body(written.request_body),
        response_body: body(written.response_body),
        forward_to: written.forward_to.clone(),
        route_to: written.route_to.clone(),
    }
}

/// Names of the ABI's functions and WASI's have small letters, digits and underlines.
fn functions(check: &mut Check<'_>, path: &Path<'_>, names: Option<&[String]>) -> Option<Vec<String>> {
    let foreign = |name: &str| name.strip_prefix(Capabilities::FOREIGN).map(str::to_owned);
    let fits = |name: &str| match foreign(name) {
        Some(name) => name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        None => name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
    };
    for (index, name) in names.unwrap_or_default().iter().enumerate() {
        let known = FOREIGN_FUNCTIONS;
        let Some(single) = foreign(name) else { continue };
        let is_there = match single.strip_suffix('*') {
            Some(beginning) => known.iter().any(|known| known.starts_with(beginning)),
            None => known.contains(&single.as_str()),
        };
        if !is_there && fits(single.trim_end_matches('*')) {
            let hint = match guess(&single, known) {
                Some(name) => format!("did you mean \"{}{name}\"?", Capabilities::FOREIGN),
                None => format!("there are {}", known.join(", ")),
            };
            let fault = Fault::new(format!("there is no foreign function {single:?}"));
            check.fault(&path.index(index), fault.hint(hint));
        }
    }
    list(
        check,
        path,
        names,
        fits,
        "a host function",
        "proxy_log, proxy_get_*, fd_write or foreign:tidegate_redis",
    )
}

fn fields(check: &mut Check<'_>, path: &Path<'_>, written: Option<&FieldAccessDocument>) -> FieldAccess {
    let Some(written) = written else { return FieldAccess::default() };
    let mut names = |key: &str, names: Option<&[String]>| {
        let fits = |name: &str| {
            let name = name.strip_prefix(':').unwrap_or(name);
            name.is_empty() || http_token(name)
        };
        list(check, &path.key(key), names, fits, "a header field", "x-team, x-* or :path")
    };
    FieldAccess {
        read: names("read", written.read.as_deref()),
        write: names("write", written.write.as_deref()),
    }
}

fn http_token(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn list(
    check: &mut Check<'_>,
    path: &Path<'_>,
    names: Option<&[String]>,
    fits: impl Fn(&str) -> bool,
    what: &str,
    hint: &str,
) -> Option<Vec<String>> {
    let names = names?;
    for (index, name) in names.iter().enumerate() {
        let whole = name.strip_suffix('*').unwrap_or(name);
        if name.is_empty() || !fits(whole) {
            let fault = Fault::new(format!("{name:?} is not the name of {what}"));
            check.fault(&path.index(index), fault.hint(format!("for instance {hint}")));
        }
    }
    Some(names.to_vec())
}

fn body(written: Option<BodyAccessDocument>) -> BodyAccess {
    match written {
        Some(BodyAccessDocument::None) => BodyAccess::None,
        Some(BodyAccessDocument::Read) => BodyAccess::Read,
        Some(BodyAccessDocument::Write) | None => BodyAccess::Write,
    }
}
