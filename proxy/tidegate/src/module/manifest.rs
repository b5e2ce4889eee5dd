//! What a module says of itself: a custom section `tidegate.manifest`, one JSON object.
//!
//! `needs` is what it cannot work without: a configuration that does not grant it is refused. `uses` is what it can do
//! without: a warning. Keys that this version does not know are left alone.

use serde::{Deserialize, Serialize};

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
    /// Host functions that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_functions: Vec<String>,
}

/// What a configuration grants.
pub(crate) struct Granted<'a> {
    /// Upstreams that may be called.
    pub(crate) upstreams: &'a [String],
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
        let missing = |rights: &Rights| -> Vec<String> {
            rights.upstreams.iter().filter(|name| !granted.upstreams.contains(name)).cloned().collect()
        };
        let (needs, uses) = (missing(&self.needs), missing(&self.uses));
        let told = |names: &[String], verb: &str| {
            let names = names.join(", ");
            format!(
                "the module's manifest {verb} calls to {names}, which the configuration does not grant; capabilities: \
                 {{ upstreams: [{names}] }} grants them"
            )
        };
        if !needs.is_empty() {
            return Err(told(&needs, "needs"));
        }
        Ok((!uses.is_empty()).then(|| told(&uses, "mentions")).into_iter().collect())
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
            manifest.compare(&Granted { upstreams: &granted })
        };
        assert!(compare(&["b"]).is_err_and(|why| why.contains("needs calls to a,")));
        assert!(compare(&["a"]).is_ok_and(|warnings| warnings.len() == 1 && warnings[0].contains(" b,")));
        assert_eq!(compare(&["a", "b"]), Ok(Vec::new()));
    }
}
