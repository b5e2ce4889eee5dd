//! The JSON Schema: it knows every key, and it takes what the loader takes.

#![allow(clippy::panic, reason = "a test fails by a panic")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tidegate_config::{Secrets, SourceText, load, schema};

struct Anything;

impl Secrets for Anything {
    fn env(&self, name: &str) -> Result<String, String> {
        Ok(name.to_owned())
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Ok(path.display().to_string())
    }
}

/// Every key that users rely on.
const KEYS: [&str; 136] = [
    "admin",
    "address",
    "workers",
    "listeners",
    "name",
    "protocol",
    "hostnames",
    "http3",
    "proxyProtocol",
    "tls",
    "certificates",
    "cert",
    "key",
    "clientAuth",
    "ca",
    "mode",
    "filters",
    "timeouts",
    "handshake",
    "headers",
    "body",
    "idle",
    "limits",
    "headerBytes",
    "connections",
    "streams",
    "plugins",
    "module",
    "sha256",
    "config",
    "rootId",
    "vmConfig",
    "environment",
    "isolation",
    "onHeadersPause",
    "onFailure",
    "load",
    "trap",
    "timeout",
    "callTime",
    "requestTime",
    "memory",
    "instances",
    "callHostCalls",
    "requestHostCalls",
    "copiedBytes",
    "openCalls",
    "logLines",
    "heldBody",
    "rebuildAbove",
    "capabilities",
    "upstreams",
    "routes",
    "rules",
    "matches",
    "path",
    "exact",
    "prefix",
    "regex",
    "method",
    "query",
    "plugin",
    "requestHeaders",
    "responseHeaders",
    "set",
    "add",
    "remove",
    "rewrite",
    "hostname",
    "full",
    "forward",
    "redirect",
    "respond",
    "status",
    "upstream",
    "weight",
    "request",
    "attempt",
    "retries",
    "attempts",
    "on",
    "backoff",
    "base",
    "max",
    "mirror",
    "percent",
    "servers",
    "discover",
    "dns",
    "file",
    "srv",
    "consul",
    "service",
    "resolver",
    "minTtl",
    "maxTtl",
    "wait",
    "tags",
    "datacenter",
    "passing",
    "token",
    "health",
    "grpc",
    "interval",
    "unsettledInterval",
    "healthyAfter",
    "unhealthyAfter",
    "initial",
    "successRate",
    "latency",
    "balance",
    "serverName",
    "clientCertificate",
    "pending",
    "requests",
    "accessLog",
    "format",
    "scheme",
    "port",
    "connect",
    // Words that are values.
    "http",
    "https",
    "tcp",
    "required",
    "optional",
    "worker",
    "connection",
    "closed",
    "open",
    "http1",
    "http2",
    "auto",
    "roundRobin",
    "leastRequest",
    "peakEwma",
    "random",
];

fn collect(schema: &Value, known: &mut BTreeSet<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| collect(item, known)),
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => known.extend(properties.keys().cloned()),
                    ("const", Value::String(word)) => {
                        known.insert(word.clone());
                    }
                    ("enum", Value::Array(words)) => {
                        known.extend(words.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
                collect(value, known);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_is_in_the_schema() {
    let mut known = BTreeSet::new();
    collect(&schema(), &mut known);
    let missing: Vec<_> = KEYS.iter().filter(|key| !known.contains(**key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_object_is_closed_and_every_key_described() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, definition) in definitions.iter().chain([(&"Document".to_owned(), &schema)]) {
        let Some(properties) = definition.get("properties").and_then(Value::as_object) else { continue };
        assert_eq!(definition["additionalProperties"], json!(false), "{name}");
        for (key, property) in properties {
            assert!(property.get("description").is_some_and(Value::is_string), "{name}.{key}");
        }
    }
    assert!(!schema.to_string().contains("null"), "a key without a value is a mistake");
}

/// A validator for the words that the schema uses; an unknown word is a failure of the test.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return schema != &json!(false) };
    schema.iter().all(|(word, rule)| match word.as_str() {
        "$ref" => {
            let target = rule.as_str().expect("text").trim_start_matches('#');
            valid(root, root.pointer(target).expect("a definition"), value)
        }
        "type" => match rule.as_str().expect("one type") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            other => panic!("the type {other}"),
        },
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(key, value)| rule.get(key).is_none_or(|rule| valid(root, rule, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |key: &str| schema.get("properties").is_some_and(|known| known.get(key).is_some());
            object.iter().all(|(key, value)| known(key) || valid(root, rule, value))
        }),
        "required" => {
            let names = rule.as_array().expect("names").iter().map(|name| name.as_str().expect("a name"));
            value.as_object().is_none_or(|object| names.into_iter().all(|name| object.contains_key(name)))
        }
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| valid(root, rule, item))),
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a number"))
        }
        "not" => !valid(root, rule, value),
        "enum" => rule.as_array().expect("values").contains(value),
        "const" => rule == value,
        "anyOf" => rule.as_array().expect("schemas").iter().any(|rule| valid(root, rule, value)),
        "oneOf" => {
            rule.as_array().expect("schemas").iter().filter(|rule| valid(root, rule, value)).count() == 1
        }
        "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|value| value <= rule.as_f64().expect("a number")),
        "minLength" => {
            value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().expect("a number"))
        }
        "pattern" => {
            let pattern = regex::Regex::new(rule.as_str().expect("text")).expect("an expression");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "dependentRequired" => rule.as_object().expect("keys").iter().all(|(key, needed)| {
            let needed = needed.as_array().expect("names").iter().map(|name| name.as_str().expect("a name"));
            value.get(key).is_none() || needed.into_iter().all(|name| value.get(name).is_some())
        }),
        "$schema" | "$defs" | "title" | "description" | "format" | "default" => true,
        other => panic!("the word {other}"),
    })
}

#[test]
fn what_the_loader_takes_is_valid() {
    let schema = schema();
    for text in
        [include_str!("whole.yaml"), "{}", r#"{"listeners":[{"name":"a","address":["127.0.0.1:0"]}]}"#]
    {
        let source = SourceText { name: "tidegate.yaml".to_owned(), text: text.to_owned() };
        let loaded =
            load(&[source], Path::new("/base"), &Anything).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(valid(&schema, &schema, &loaded.redacted), "{text}");
    }
}

#[test]
fn what_the_loader_refuses_is_not_valid() {
    let schema = schema();
    for text in [
        r#"{"listener":[]}"#,
        r#"{"workers":0}"#,
        r#"{"listeners":[{"name":"a"}]}"#,
        r#"{"listeners":[{"name":"a","address":[]}]}"#,
        r#"{"upstreams":{"u":{}}}"#,
        r#"{"upstreams":{"u":{"servers":["a:1"],"balance":"fastest"}}}"#,
        r#"{"upstreams":{"u":{"servers":["a:1"],"timeouts":{"idle":"5"}}}}"#,
        r#"{"routes":[{"name":"r","rules":[{}]}]}"#,
        r#"{"routes":[{"name":"r","rules":[{"respond":{},"forward":[{"upstream":"u"}]}]}]}"#,
        r#"{"accessLog":{"path":null}}"#,
    ] {
        let document: Value = serde_json::from_str(text).expect("JSON");
        assert!(!valid(&schema, &schema, &document), "{text}");
    }
}
