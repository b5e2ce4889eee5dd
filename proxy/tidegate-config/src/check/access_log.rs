//! `accessLog`.

use std::time::Duration;

use super::Check;
use super::names::Kind;
use super::otlp;
use super::plugin::Plugins;
use super::recording::share;
use crate::document::{
    AccessLogDocument, AccessLogEntry, Document, LogOnlyDocument, StatusEntry, SyslogDocument, SyslogFacility,
};
use crate::node::Path;
use crate::plan::{
    AccessLog, KnownField, LogField, LogFormat, LogOnly, LogPiece, LogTarget, PluginIndex, SECRETS, Syslog,
    SyslogAddress,
};
use crate::problem::Fault;
use crate::types::parse_socket;

/// All logs, and the plugins that are shown what is over.
pub(super) fn access_logs(
    check: &mut Check<'_>,
    document: &Document,
    plugins: &Plugins,
) -> (Vec<AccessLog>, Vec<PluginIndex>) {
    let section = Path::ROOT.key("accessLog");
    let known = Known { plugins, service: otlp::service(document) };
    let (mut logs, mut shown) = (Vec::new(), Vec::new());
    match &document.access_log {
        None => {}
        Some(AccessLogEntry::One(one)) => logs.push(access_log(check, &section, one, &known, &mut shown)),
        Some(several) => {
            let several = several.all();
            if several.len() > MOST_LOGS {
                let fault = Fault::new(format!("{} access logs are too many", several.len()));
                check.fault(&section, fault.hint(format!("at most {MOST_LOGS}")));
            }
            for (index, one) in several.iter().enumerate() {
                logs.push(access_log(check, &section.index(index), one, &known, &mut shown));
            }
        }
    }
    (logs, shown)
}

/// Which logs a request is for fits into a word.
const MOST_LOGS: usize = 16;

/// What logs may name, and what the gateway is called.
struct Known<'a> {
    plugins: &'a Plugins,
    service: &'a str,
}

fn access_log(
    check: &mut Check<'_>,
    path: &Path<'_>,
    log: &AccessLogDocument,
    known: &Known<'_>,
    shown: &mut Vec<PluginIndex>,
) -> AccessLog {
    let section = path.key("plugins");
    for (index, name) in log.plugins.iter().flatten().enumerate() {
        let place = section.index(index);
        match known.plugins.find(check, &place, name) {
            Some(plugin) if shown.contains(&plugin) => {
                check.warn(&place, Fault::new(format!("the plugin {name:?} is there twice")));
            }
            found => shown.extend(found),
        }
    }
    let redact = log.redact.clone().unwrap_or_default();
    AccessLog {
        target: target(check, path, log, known.service),
        format: format(check, path, log),
        only: log
            .only
            .as_ref()
            .map_or_else(LogOnly::default, |only| conditions(check, &path.key("only"), only)),
        share: log.percent.map_or(1_000_000, |percent| share(check, &path.key("percent"), percent)),
        secret_query: redact.query.unwrap_or_default(),
        secret_headers: match redact.headers {
            Some(names) => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            None => SECRETS.map(str::to_owned).to_vec(),
        },
    }
}

fn target(check: &mut Check<'_>, path: &Path<'_>, log: &AccessLogDocument, service: &str) -> LogTarget {
    let named =
        [("path", log.path.is_some()), ("syslog", log.syslog.is_some()), ("otlp", log.otlp.is_some())];
    let mut named = named.iter().filter(|(_, is_there)| *is_there);
    if let (Some((one, _)), Some((other, _))) = (named.next(), named.next()) {
        let fault = Fault::new(format!("{one:?} and {other:?} exclude each other"));
        check.fault(&path.key(one), fault.hint("write two access logs, or keep one of them"));
    }
    match (&log.syslog, &log.otlp) {
        (Some(syslog), _) => LogTarget::Syslog(server(check, &path.key("syslog"), syslog)),
        (None, Some(collector)) => LogTarget::Otlp(otlp::otlp(check, &path.key("otlp"), collector, service)),
        (None, None) => {
            let file = log.path.as_deref().unwrap_or("/dev/stdout");
            LogTarget::File(check.file(&path.key("path"), file))
        }
    }
}

fn server(check: &mut Check<'_>, path: &Path<'_>, syslog: &SyslogDocument) -> Syslog {
    let place = path.key("address");
    let address = match syslog.address.strip_prefix("unix:") {
        Some(file) => SyslogAddress::Unix(check.file(&place, file)),
        None => {
            let address = check.take(&place, parse_socket(&syslog.address));
            SyslogAddress::Udp(address.unwrap_or_else(|| ([127, 0, 0, 1], 514).into()))
        }
    };
    let app = syslog.app.clone().unwrap_or_else(|| "tidegate".to_owned());
    // RFC 5424, 6.2.5: up to 48 printable characters without spaces.
    if app.is_empty() || app.len() > 48 || !app.bytes().all(|byte| byte.is_ascii_graphic()) {
        let fault = Fault::new(format!("{app:?} is not a name that syslog takes"));
        check.fault(&path.key("app"), fault.hint("1 to 48 printable ASCII characters without spaces"));
    }
    let facility = match syslog.facility.unwrap_or(SyslogFacility::Local0) {
        SyslogFacility::User => 1,
        SyslogFacility::Daemon => 3,
        SyslogFacility::Local0 => 16,
        SyslogFacility::Local1 => 17,
        SyslogFacility::Local2 => 18,
        SyslogFacility::Local3 => 19,
        SyslogFacility::Local4 => 20,
        SyslogFacility::Local5 => 21,
        SyslogFacility::Local6 => 22,
        SyslogFacility::Local7 => 23,
    };
    Syslog { address, facility, app }
}

fn format(check: &mut Check<'_>, path: &Path<'_>, log: &AccessLogDocument) -> LogFormat {
    let is_record = log.otlp.is_some();
    let text = log.format.as_deref().unwrap_or(if is_record { RECORD } else { "json" });
    let chosen = log.fields.as_deref();
    if is_record && text == "json" {
        let fault = Fault::new("\"json\" has no meaning with \"otlp\": fields are attributes of records");
        check.fault(&path.key("format"), fault.hint("a text such as '%{method} %{path} %{status}'"));
        return LogFormat::Record(Vec::new(), Vec::new());
    }
    if text == "json" {
        return LogFormat::Json(fields(check, &path.key("fields"), chosen));
    }
    if chosen.is_some() && !is_record {
        let fault = Fault::new("\"fields\" has no meaning with a text as \"format\"");
        check.fault(&path.key("fields"), fault.hint("leave one of them out"));
    }
    let text = match pieces(text) {
        Ok(pieces) if pieces.iter().any(|piece| matches!(piece, LogPiece::Field(_))) => pieces,
        Ok(_) => {
            let fault = Fault::new(format!("{text:?} has no field in it"));
            check.fault(&path.key("format"), fault.hint("json, or a text such as '%{client} %{status}'"));
            Vec::new()
        }
        Err(fault) => {
            check.fault(&path.key("format"), fault);
            Vec::new()
        }
    };
    match is_record {
        true => LogFormat::Record(text, fields(check, &path.key("fields"), chosen)),
        false => LogFormat::Text(text),
    }
}

/// What a record says to people.
const RECORD: &str = "%{protocol} %{method} %{path} %{status}";

fn fields(check: &mut Check<'_>, path: &Path<'_>, names: Option<&[String]>) -> Vec<LogField> {
    let Some(names) = names else {
        // A line has one time.
        let known = KnownField::ALL.iter().map(|(field, _)| *field);
        return known.filter(|field| *field != KnownField::Time).map(LogField::Known).collect();
    };
    let mut fields = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let place = path.index(index);
        match LogField::parse(name) {
            Some(field) if fields.contains(&field) => {
                check.fault(&place, Fault::new(format!("the field {name:?} is there twice")));
            }
            Some(field) => fields.push(field),
            None => check.fault(&place, unknown(name, String::new())),
        }
    }
    fields
}

fn unknown(name: &str, place: String) -> Fault {
    let fault = Fault::new(format!("no field named {name:?}{place}"));
    let known = KnownField::ALL.iter().map(|(_, name)| *name);
    fault.with_guess(name, known.chain(["header.NAME", "response_header.NAME"]))
}

/// `%{name}` is a field, `%%` a percent sign.
fn pieces(format: &str) -> Result<Vec<LogPiece>, Fault> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    let at = |rest: &str| format.len() - rest.len() + 1;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let field = after.strip_prefix('{').and_then(|field| field.split_once('}'));
        let Some((name, after)) = field else {
            let place = at(after) - 1;
            let fault = Fault::new(format!("the percent sign at character {place} begins no field"));
            return Err(fault.hint("%{NAME} is a field, %% a percent sign"));
        };
        let Some(field) = LogField::parse(name) else {
            return Err(unknown(name, format!(", at character {}", at(after) - name.len() - 1)));
        };
        if !text.is_empty() {
            pieces.push(LogPiece::Text(std::mem::take(&mut text)));
        }
        pieces.push(LogPiece::Field(field));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(LogPiece::Text(text));
    }
    Ok(pieces)
}

fn conditions(check: &mut Check<'_>, path: &Path<'_>, only: &LogOnlyDocument) -> LogOnly {
    let section = path.key("statuses");
    let mut statuses = Vec::new();
    for (index, entry) in only.statuses.iter().flatten().enumerate() {
        match entry {
            StatusEntry::One(status) => statuses.push((*status, *status)),
            StatusEntry::Class(class) => match class.as_bytes() {
                [digit @ b'1'..=b'5', b'x', b'x'] => {
                    let first = u16::from(digit - b'0') * 100;
                    statuses.push((first, first + 99));
                }
                _ => {
                    let fault = Fault::new(format!("{class:?} is no class of statuses"));
                    check.fault(&section.index(index), fault.hint("1xx to 5xx, or a number such as 404"));
                }
            },
        }
    }
    let section = path.key("routes");
    for (index, name) in only.routes.iter().flatten().enumerate() {
        check.dangling(&section.index(index), Kind::Route, name);
    }
    LogOnly {
        errors: only.errors.unwrap_or(false),
        statuses,
        routes: only.routes.clone().unwrap_or_default(),
        slower_than: only.slower_than.map(|time| time.0).filter(|time| *time > Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let field = |field| LogPiece::Field(LogField::Known(field));
        let text = |text: &str| LogPiece::Text(text.to_owned());
        let found = pieces("%{client} 100%% \"%{path}\"%{header.X-A}").map_err(|fault| fault.message);
        assert_eq!(
            found,
            Ok(vec![
                field(KnownField::Client),
                text(" 100% \""),
                field(KnownField::Path),
                text("\""),
                LogPiece::Field(LogField::RequestHeader("x-a".to_owned())),
            ])
        );
    }

    #[test]
    fn what_is_wrong_in_a_text_has_a_place() {
        for (format, expected) in [
            ("a %status", "the percent sign at character 3 begins no field"),
            ("%{status", "the percent sign at character 1 begins no field"),
            ("ab %{stats}", "no field named \"stats\", at character 6"),
            ("%{header.}", "no field named \"header.\", at character 3"),
        ] {
            assert_eq!(pieces(format).map_err(|fault| fault.message), Err(expected.to_owned()), "{format}");
        }
    }
}
