//! `admin`.

use super::Check;
use super::listener::server_tls;
use super::names::Kind;
use super::upstream::client_tls;
use crate::document::{AccessLogEntry, AdminDocument, Document, PushDocument, TapDocument};
use crate::node::Path;
use crate::plan::{Admin, Push, TapSettings};
use crate::problem::Fault;
use crate::types::parse_socket;

/// Characters that a token has at least: fewer can be tried out.
const SHORTEST_TOKEN: usize = 16;

/// Where the admin API is, and who may use it.
pub(super) fn admin(check: &mut Check<'_>, document: &Document, written: &AdminDocument) -> Admin {
    let path = Path::ROOT.key("admin");
    let address =
        written.address.as_ref().and_then(|address| check.take(&path.key("address"), parse_socket(address)));
    if written.address.is_none() && written.socket.is_none() {
        let fault = Fault::new("neither an address nor a socket");
        check.fault(&path, fault.hint("address: 127.0.0.1:9900"));
    }
    let tls = written.tls.as_ref().map(|tls| server_tls(check, &path.key("tls"), tls));
    if tls.is_some() && written.address.is_none() {
        let fault = Fault::new("there is no address to serve by TLS; the socket is not");
        check.fault(&path.key("tls"), fault.hint("address: 10.0.0.7:9900"));
    }
    let socket = written.socket.as_ref().map(|socket| check.file(&path.key("socket"), socket));
    let section = path.key("token");
    if let Some(token) = &written.token {
        let fault = if token.len() < SHORTEST_TOKEN {
            Some(format!("{} characters are too few", token.len()))
        } else {
            (!token.bytes().all(|byte| byte.is_ascii_graphic()))
                .then(|| "spaces and other than ASCII".to_owned())
        };
        if let Some(fault) = fault {
            let hint = "16 or more visible ASCII characters, such as `openssl rand -hex 24` writes";
            check.fault(&section, Fault::new(fault).hint(hint));
        }
    }
    let section = path.key("sharedData");
    // Each is the name of a plugin, or the VM id of one.
    for (index, name) in written.shared_data.iter().enumerate() {
        let is_vm = document.plugins.values().any(|plugin| plugin.vm_id == *name);
        if name.is_empty() || !is_vm {
            check.dangling(&section.index(index), Kind::Plugin, name);
        }
    }
    let push = written.push.as_ref().and_then(|written| push(check, &path.key("push"), written));
    Admin {
        address,
        tls,
        socket,
        token: written.token.clone(),
        name: written.name.clone(),
        push,
        shared_data: written.shared_data.clone(),
        steers: written.steer_releases == Some(true),
        operates: written.operate == Some(true),
        tap: tap(document, written.tap.as_ref()),
    }
}

/// Where this gateway pushes what it counts.
fn push(check: &mut Check<'_>, path: &Path<'_>, written: &PushDocument) -> Option<Push> {
    let tls = written.tls.as_ref().map(|tls| client_tls(check, &path.key("tls"), tls));
    if tls.is_some() && written.url.starts_with("http://") {
        let fault = Fault::new(format!("{:?} is not asked by TLS", written.url));
        check.fault(&path.key("tls"), fault.hint("url: https://10.0.0.7:9900"));
    }
    let url = check.take(&path.key("url"), api(&written.url))?;
    Some(Push { url, token: written.token.clone(), tls })
}

/// What no access log shows is not shown by a tap either.
fn tap(document: &Document, written: Option<&TapDocument>) -> TapSettings {
    let logs = document.access_log.as_ref().map_or(&[][..], AccessLogEntry::all);
    let redact = logs.iter().filter_map(|log| log.redact.as_ref());
    let redact = redact.chain(written.and_then(|tap| tap.redact.as_ref()));
    let mut tap =
        TapSettings { bodies: written.is_some_and(|tap| tap.bodies == Some(true)), ..TapSettings::default() };
    for redact in redact {
        let headers = redact.headers.iter().flatten().map(|name| name.to_ascii_lowercase());
        tap.secret_headers.extend(headers);
        tap.secret_query.extend(redact.query.iter().flatten().cloned());
    }
    tap
}

/// The address of an admin API.
fn api(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    match host {
        Some(host)
            if !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte)) =>
        {
            Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
        }
        _ => {
            Err(Fault::new(format!("{text:?} is not the address of an admin API"))
                .hint("http://10.0.0.7:9900"))
        }
    }
}
