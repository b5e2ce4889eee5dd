//! `tracing`.

use super::Check;
use super::recording::share;
use crate::document::{OtlpDocument, OtlpProtocol, TraceFormat, TracingDocument};
use crate::node::Path;
use crate::plan::{Otlp, Tracing};
use crate::problem::Fault;
use std::time::Duration;

pub(super) fn tracing(check: &mut Check<'_>, tracing: &TracingDocument) -> Tracing {
    let path = Path::ROOT.key("tracing");
    let keep = tracing.keep.clone().unwrap_or_default();
    let percent = tracing.percent.unwrap_or(1.0);
    Tracing {
        otlp: otlp(check, &path, tracing),
        // None is a share here: a gateway that only takes part in the traces of others.
        share: if percent == 0.0 { 0 } else { share(check, &path.key("percent"), percent) },
        follow_parent: tracing.follow_parent.unwrap_or(true),
        keep_errors: keep.errors.unwrap_or(false),
        keep_slower: keep.slower_than.map(|time| time.0).filter(|time| *time > Duration::ZERO),
        accept: formats(check, &path.key("accept"), tracing.accept.as_deref()),
        send: formats(check, &path.key("send"), tracing.send.as_deref()),
    }
}

fn formats(check: &mut Check<'_>, path: &Path<'_>, written: Option<&[TraceFormat]>) -> Vec<TraceFormat> {
    let mut formats = Vec::new();
    for (index, format) in written.unwrap_or(&[TraceFormat::W3c]).iter().enumerate() {
        if formats.contains(format) {
            check.fault(&path.index(index), Fault::new("the format is there twice"));
        } else {
            formats.push(*format);
        }
    }
    formats
}

fn otlp(check: &mut Check<'_>, section: &Path<'_>, tracing: &TracingDocument) -> Otlp {
    let OtlpDocument { endpoint, protocol, headers } = &tracing.otlp;
    let place = section.key("otlp");
    let (authority, path) = check.take(&place.key("endpoint"), endpoint_of(endpoint)).unwrap_or_default();
    let fields = place.key("headers");
    for (name, value) in headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            check.fault(&fields.key(name), Fault::new(format!("{name:?} is not the name of a field")));
        }
        if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            check.fault(&fields.key(name), Fault::new("the value has bytes that a field cannot have"));
        }
    }
    Otlp {
        authority,
        path,
        grpc: *protocol == Some(OtlpProtocol::Grpc),
        headers: headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
        service: tracing.service.clone().unwrap_or_else(|| "tidegate".to_owned()),
    }
}

/// Host with port, and path.
fn endpoint_of(text: &str) -> Result<(String, String), Fault> {
    let wrong =
        |what: &str| Err(Fault::new(format!("{text:?} {what}")).hint("for instance http://127.0.0.1:4318"));
    let Some(rest) = text.strip_prefix("http://") else {
        if text.starts_with("https://") {
            let fault = Fault::new("OTLP over TLS is not supported by this version");
            return Err(fault.hint("run a collector beside the gateway and send to it by http://"));
        }
        return wrong("is not an http URL");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((host, port)) = authority.rsplit_once(':') else { return wrong("has no port") };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(valid) || port.parse::<u16>().is_err() {
        return wrong("has no host and port");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
        return wrong("has more than a path");
    }
    Ok((authority.to_owned(), path.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let found = |text: &str| endpoint_of(text).map_err(|fault| fault.message);
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(found("http://127.0.0.1:4318"), pair("127.0.0.1:4318", ""));
        assert_eq!(found("http://[::1]:4318/otlp/"), pair("[::1]:4318", "/otlp"));
        for text in
            ["127.0.0.1:4318", "http://a", "http://a:99999", "http://:1", "https://a:1", "http://a:1/?b"]
        {
            assert!(found(text).is_err(), "{text}");
        }
    }
}
