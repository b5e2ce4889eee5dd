//! Requests as access logs and taps have recorded them, a JSON object a line, as they are asked about.

use std::collections::HashSet;
use std::io::BufRead;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::admin::Asked;
use crate::inspect;

/// All of them, each once: those that differ in nothing that is recorded are one.
pub(super) fn read(lines: impl BufRead, name: &str) -> Result<Vec<Asked>> {
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    for (at, line) in lines.lines().enumerate() {
        let line = line.with_context(|| format!("{name} cannot be read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let asked = serde_json::from_str(&line).context("no JSON object").and_then(asked);
        if let Some(asked) = asked.with_context(|| format!("{name}, line {}", at + 1))?
            && seen.insert(serde_json::to_string(&asked)?)
        {
            all.push(asked);
        }
    }
    Ok(all)
}

/// The request of a line; none: it is about no request, as the end of a tap is, or about one that could not be read.
fn asked(line: Value) -> Result<Option<Asked>> {
    if line.get("url").is_some() {
        return serde_json::from_value(line).map(Some).context("not a request to ask about");
    }
    let field = |name: &str| line[name].as_str();
    let is_connection = matches!(field("protocol"), Some("tcp" | "tls"));
    if line.get("end").is_some() || is_connection || field("path") == Some("*") {
        return Ok(None);
    }
    let (Some(method), Some(host), Some(path)) = (field("method"), field("host"), field("path")) else {
        bail!(
            "a line of a JSON access log, of `tidegate tap --json`, or {{\"method\": …, \"url\": …}} is wanted; of \
             access logs the fields method, host and path"
        );
    };
    if host.is_empty() {
        return Ok(None);
    }
    let tls = line["tls"] == true || line.get("tls_version").is_some();
    let listener = field("listener").map(str::to_owned);
    // Clients may know the listener by another port.
    let host = if listener.is_some() { without_port(host) } else { host };
    let asked = Asked {
        method: method.to_owned(),
        url: format!("{}://{host}{path}", if tls { "https" } else { "http" }),
        listener,
        // What is recorded is the client, not always the other end of its connection.
        client_address: None,
        headers: headers(&line),
    };
    // Logs have what clients sent: hosts that are none, which were refused and which nobody can ask about.
    let is_request = inspect::request(&asked.method, &asked.url, None, &asked.headers).is_ok();
    Ok(Some(asked).filter(|_| is_request))
}

/// The fields of a tap's request, or those that an access log was told to have.
fn headers(line: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    if let Some(fields) = line["requestHeaders"].as_array() {
        return fields.iter().filter_map(pair).collect();
    }
    let mut headers = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        let name = match name.as_str() {
            "user_agent" => "user-agent",
            other => other.strip_prefix("header.").unwrap_or_default(),
        };
        if let (false, Some(value)) = (name.is_empty(), value.as_str()) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    headers.sort();
    headers
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Vec<Value> {
        let all = read(text.as_bytes(), "t").expect("it is right");
        all.iter().map(|asked| serde_json::to_value(asked).expect("it is JSON")).collect()
    }

    #[test]
    fn lines_of_logs_and_taps_become_requests_each_once() {
        let log = r#"{"time_ms":1,"client":"192.0.2.7:4711","listener":"web","method":"GET","host":"shop.test:8443","path":"/a?b=c","tls_version":"TLSv1.3","user_agent":"curl","header.x-env":"staging","status":200}"#;
        let tap = r#"{"listener":"web","tls":false,"method":"POST","host":"[::1]:80","path":"/o","requestHeaders":[["x-a","b"],["x-a","c"]],"status":200}"#;
        let listed = r#"{"method":"GET","url":"http://a.test/"}"#;
        let other = r#"{"end":"limit","shown":1}"#;
        let connection = r#"{"listener":"db","protocol":"tcp","route":"db"}"#;
        let text = [log, tap, listed, other, connection, "", &log.replace("\"time_ms\":1", "\"time_ms\":2")]
            .join("\n");
        let read = read_all(&text);
        assert_eq!(read.len(), 3, "{read:?}");
        assert_eq!(read[0]["url"], "https://shop.test/a?b=c");
        assert_eq!(read[0]["listener"], "web");
        assert_eq!(read[0]["headers"], serde_json::json!([["user-agent", "curl"], ["x-env", "staging"]]));
        assert_eq!((&read[1]["url"], &read[1]["method"]), (&"http://[::1]/o".into(), &"POST".into()));
        assert_eq!(read[1]["headers"], serde_json::json!([["x-a", "b"], ["x-a", "c"]]));
        assert_eq!(read[2]["url"], "http://a.test/");
    }

    #[test]
    fn what_clients_sent_as_a_host_keeps_no_other_request_from_being_compared() {
        let line = |host: &str| serde_json::json!({ "method": "GET", "host": host, "path": "/" }).to_string();
        let text = ["a b", "^^\"", "a.test", "", "[::1"].map(line).join("\n");
        let read: Vec<Value> = read_all(&text).into_iter().map(|asked| asked["url"].clone()).collect();
        assert_eq!(read, ["http://a.test/"]);
    }

    #[test]
    fn what_is_no_request_is_told_with_its_line() {
        for (text, expected) in [
            ("{\"url\":\"http://a\",\"x\":1}", "t, line 1: not a request to ask about: unknown field `x`"),
            ("\nGET / HTTP/1.1", "t, line 2: no JSON object"),
            ("{\"status\":200}", "t, line 1: a line of a JSON access log"),
        ] {
            let why = format!("{:#}", read(text.as_bytes(), "t").expect_err(text));
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
