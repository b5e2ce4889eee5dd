//! What a module says of itself: a custom section `tidegate.manifest`, one JSON object.
//!
//! `needs` is what it cannot work without: a configuration that does not grant it is refused. `uses` is what it can do
//! without: a warning. Keys that this version does not know are left alone.

use serde::{Deserialize, Serialize};
use tidegate_config::plan::{BodyAccess, Capabilities, FieldAccess};

use super::sections;

/// The section that holds the manifest.
pub(crate) const SECTION: &str = "tidegate.manifest";

/// A module's own words.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Manifest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// It cannot work without these.
    pub(crate) needs: Rights,
    /// It can.
    pub(crate) uses: Rights,
}

/// Things that a configuration grants.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rights {
    /// Upstreams that it calls, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) upstreams: Vec<String>,
    /// Host functions that it calls; `foreign:NAME` is a foreign one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_functions: Vec<String>,
    /// Fields of requests.
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub(crate) request_headers: Fields,
    /// Fields of responses.
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub(crate) response_headers: Fields,
    /// What it does with bodies of requests.
    #[serde(skip_serializing_if = "Body::is_none")]
    pub(crate) request_body: Body,
    /// What it does with bodies of responses.
    #[serde(skip_serializing_if = "Body::is_none")]
    pub(crate) response_body: Body,
}

/// Names of fields.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    /// That it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) read: Vec<String>,
    /// That it adds, changes or removes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) write: Vec<String>,
}

impl Fields {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }
}

/// What a module does with bodies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Body {
    /// Nothing.
    #[default]
    None,
    /// Reads them.
    Read,
    /// Changes them.
    Write,
}

impl Body {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    fn access(self) -> BodyAccess {
        match self {
            Self::None => BodyAccess::None,
            Self::Read => BodyAccess::Read,
            Self::Write => BodyAccess::Write,
        }
    }
}

/// What a configuration grants.
pub(crate) struct Granted<'a> {
    /// Upstreams that may be called.
    pub(crate) upstreams: &'a [String],
    /// The rest.
    pub(crate) capabilities: &'a Capabilities,
}

/// Something that a configuration does not grant: in words, and the key and value that would.
struct Missing {
    what: String,
    key: String,
}

impl Rights {
    /// What of it is not granted.
    fn beyond(&self, granted: &Granted<'_>) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut add = |words: &str, key: &str, names: &[String], is_granted: &dyn Fn(&str) -> bool| {
            let names: Vec<&str> =
                names.iter().map(String::as_str).filter(|name| !is_granted(name)).collect();
            if !names.is_empty() {
                let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                let (what, names) = (format!("{words} {}", names.join(", ")), quoted.join(", "));
                missing.push(Missing { what, key: key.replace("{}", &names) });
            }
        };
        let own = granted.capabilities;
        let callable = |name: &str| granted.upstreams.iter().any(|known| known == name);
        add("calls to", "upstreams: [{}]", &self.upstreams, &callable);
        add("the host functions", "functions: [{}]", &self.host_functions, &|name| own.may_call(name));
        for (whose, key, fields, access) in [
            ("requests", "requestHeaders", &self.request_headers, &own.request_headers),
            ("responses", "responseHeaders", &self.response_headers, &own.response_headers),
        ] {
            for (does, side, names, list) in [
                ("read", "read", &fields.read, &access.read),
                ("change", "write", &fields.write, &access.write),
            ] {
                let words = format!("to {does} of {whose} the fields");
                let key = format!("{key}: {{ {side}: [{{}}] }}");
                add(&words, &key, names, &|name| FieldAccess::grants(list.as_ref(), name));
            }
        }
        for (whose, key, body, access) in [
            ("requests", "requestBody", self.request_body, own.request_body),
            ("responses", "responseBody", self.response_body, own.response_body),
        ] {
            if body.access() > access {
                let (does, word) = if body == Body::Write { ("change", "write") } else { ("read", "read") };
                let what = format!("to {does} bodies of {whose}");
                missing.push(Missing { what, key: format!("{key}: {word}") });
            }
        }
        missing
    }
}

/// As YAML takes it inside of a list.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

impl Manifest {
    /// The manifest of a module, if it has one.
    pub(crate) fn read(module: &[u8]) -> Result<Option<Self>, String> {
        match sections::custom(module, SECTION)?.as_slice() {
            [] => Ok(None),
            [one] => Self::parse(one).map(Some),
            _ => Err("the module has more than one manifest".to_owned()),
        }
    }

    /// Reads the JSON of a manifest.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| format!("the manifest is not understood: {error}"))
    }

    /// The module with this manifest, in the place of an earlier one.
    pub(crate) fn put(&self, module: &[u8]) -> Result<Vec<u8>, String> {
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        Ok(sections::with(&sections::without(module, SECTION)?, SECTION, &text))
    }

    /// Compares with what a configuration grants: an error for what is needed, warnings for the rest.
    pub(crate) fn compare(&self, granted: &Granted<'_>) -> Result<Vec<String>, String> {
        let told = |missing: Vec<Missing>, verb: &str| {
            let told = missing.into_iter().map(|Missing { what, key }| {
                format!(
                    "the module's manifest {verb} {what}, which the configuration does not grant; capabilities: {{ {key} }} \
                     grants it"
                )
            });
            told.collect::<Vec<_>>()
        };
        let needs = told(self.needs.beyond(granted), "needs");
        if !needs.is_empty() {
            return Err(needs.join("; "));
        }
        Ok(told(self.uses.beyond(granted), "mentions"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_put_into_a_module_and_found_there() {
        let module = wat::parse_str("(module)").expect("a module");
        assert_eq!(Manifest::read(&module), Ok(None));
        let text = br#"{ "name": "auth", "needs": { "upstreams": ["keys"] }, "later": [1] }"#;
        let manifest = Manifest::parse(text).expect("valid");
        let with = manifest.put(&manifest.put(&module).expect("a module")).expect("a module");
        assert_eq!(Manifest::read(&with), Ok(Some(manifest)));
        let broken = sections::with(&module, SECTION, b"{");
        assert!(Manifest::read(&broken).is_err_and(|why| why.contains("manifest")));
    }

    #[test]
    fn what_is_needed_and_not_granted_is_an_error() {
        let text = br#"{ "needs": { "upstreams": ["a"] }, "uses": { "upstreams": ["b"] } }"#;
        let manifest = Manifest::parse(text).expect("valid");
        let compare = |granted: &[&str]| {
            let granted: Vec<String> = granted.iter().map(|name| (*name).to_owned()).collect();
            manifest.compare(&Granted { upstreams: &granted, capabilities: &Capabilities::default() })
        };
        assert!(compare(&["b"]).is_err_and(|why| why.contains("needs calls to a,")));
        assert!(compare(&["a"]).is_ok_and(|warnings| warnings.len() == 1 && warnings[0].contains(" b,")));
        assert_eq!(compare(&["a", "b"]), Ok(Vec::new()));
    }

    #[test]
    fn functions_fields_and_bodies_are_compared_too() {
        let text = br#"{ "needs": {
            "hostFunctions": ["proxy_log", "proxy_http_call", "foreign:tidegate_redis"],
            "requestHeaders": { "read": ["X-User", ":path"], "write": ["x-team-a"] },
            "responseHeaders": { "write": ["server"] }, "requestBody": "write", "responseBody": "read" } }"#;
        let manifest = Manifest::parse(text).expect("valid");
        let compare =
            |capabilities: &Capabilities| manifest.compare(&Granted { upstreams: &[], capabilities });
        assert_eq!(compare(&Capabilities::default()), Ok(Vec::new()), "everything is granted");
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let exact = Capabilities {
            functions: list(&["proxy_log", "proxy_http_*", "foreign:tidegate_r*"]),
            request_headers: FieldAccess { read: list(&["x-user", ":*"]), write: list(&["x-team-*"]) },
            response_headers: FieldAccess { read: list(&[]), write: list(&["server"]) },
            response_body: BodyAccess::Read,
            ..Capabilities::default()
        };
        assert_eq!(compare(&exact), Ok(Vec::new()));
        let nothing = FieldAccess { read: list(&[]), write: list(&[]) };
        let less = Capabilities {
            functions: list(&["proxy_log", "foreign:compress"]),
            request_headers: nothing.clone(),
            response_headers: nothing,
            request_body: BodyAccess::Read,
            response_body: BodyAccess::None,
            ..exact
        };
        let told = compare(&less).expect_err("it is not granted");
        for part in [
            "needs the host functions proxy_http_call, foreign:tidegate_redis, which",
            "{ functions: [proxy_http_call, \"foreign:tidegate_redis\"] } grants it",
            "to read of requests the fields X-User, :path",
            "{ requestHeaders: { write: [x-team-a] } }",
            "to change of responses the fields server",
            "needs to change bodies of requests, which the configuration does not grant; capabilities: { requestBody: write }",
            "to read bodies of responses",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
