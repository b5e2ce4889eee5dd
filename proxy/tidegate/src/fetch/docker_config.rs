//! Credentials of registries, from a Docker configuration file as `docker login` and Kubernetes' pull secrets make it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tidegate_config::plan::OciReference;

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token, which the registry's token server takes.
    Identity(String),
    /// They are kept by a program, which is not run; its name.
    Helper(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The credentials for a reference: from `own`, which must be readable, or from the user's own file, if there is one.
pub(crate) fn credentials(own: Option<&Path>, reference: &OciReference) -> Result<Credentials, String> {
    let Some(path) = own.map(Path::to_owned).or_else(user_file) else { return Ok(Credentials::None) };
    let shown = path.display();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if own.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(Credentials::None);
        }
        Err(error) => return Err(format!("cannot read the pull secret {shown}: {error}")),
    };
    // The parser's message could show a part of a secret.
    let file: File = serde_json::from_slice(&text).map_err(|error| {
        format!(
            "the pull secret {shown} is not a Docker configuration: line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    file.find(reference).map_err(|why| format!("the pull secret {shown}: {why}"))
}

/// `config.json` in `$DOCKER_CONFIG` or `~/.docker`.
fn user_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

impl File {
    fn find(&self, reference: &OciReference) -> Result<Credentials, String> {
        let wanted = format!("{}/{}", canonical(&reference.registry), reference.repository);
        let fits = |key: &str| {
            let key = canonical(key);
            (wanted == key || wanted.starts_with(&format!("{key}/"))).then_some(key.len())
        };
        let best = self.auths.iter().filter_map(|(key, entry)| Some((fits(key)?, entry)));
        let helper = self.cred_helpers.iter().find(|(key, _)| fits(key).is_some()).map(|(_, name)| name);
        let helper = helper
            .or(self.creds_store.as_ref())
            .map_or(Credentials::None, |n| Credentials::Helper(n.clone()));
        match best.max_by_key(|(length, _)| *length) {
            Some((_, entry)) => Ok(entry.credentials()?.unwrap_or(helper)),
            None => Ok(helper),
        }
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, String> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let wrong = || "an entry's auth is not base64 of user:password".to_owned();
            let bytes = BASE64_STANDARD.decode(auth.trim()).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (user, password) = text.split_once(':').ok_or_else(wrong)?;
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }));
        }
        Ok(match (&self.username, &self.password) {
            (Some(user), Some(password)) => {
                Some(Credentials::Basic { user: user.clone(), password: password.clone() })
            }
            _ => None,
        })
    }
}

/// A registry as entries name it: without scheme, API version and slash at the end; Docker's own under one name.
fn canonical(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "docker.io" | "registry-1.docker.io" => "index.docker.io".to_owned(),
        _ => key.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(registry: &str, repository: &str) -> OciReference {
        OciReference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: None,
            digest: None,
        }
    }

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn the_entry_that_fits_best_counts() {
        let file: File = serde_json::from_str(
            r#"{ "auths": {
                "https://index.docker.io/v1/": { "auth": "YTpi" },
                "r.test:5000": { "username": "c", "password": "d" },
                "r.test:5000/team": { "identitytoken": "t" },
                "empty.test": {} },
              "credsStore": "desktop", "credHelpers": { "gcr.test": "gcloud" }, "HttpHeaders": {} }"#,
        )
        .expect("valid");
        for (registry, repository, expected) in [
            ("docker.io", "a/b", basic("a", "b")),
            ("r.test:5000", "x", basic("c", "d")),
            ("r.test:5000", "teams/x", basic("c", "d")),
            ("r.test:5000", "team/x", Credentials::Identity("t".to_owned())),
            ("gcr.test", "x", Credentials::Helper("gcloud".to_owned())),
            ("empty.test", "x", Credentials::Helper("desktop".to_owned())),
        ] {
            assert_eq!(file.find(&reference(registry, repository)), Ok(expected), "{registry}/{repository}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        let file: File =
            serde_json::from_str(r#"{ "auths": { "r.test": { "auth": "c2VjcmV0" } } }"#).expect("valid");
        let why = file.find(&reference("r.test", "a")).expect_err("no colon");
        assert!(why.contains("user:password") && !why.contains("c2VjcmV0"), "{why}");
        let missing = credentials(Some(Path::new("/nonexistent/config.json")), &reference("r.test", "a"));
        assert!(missing.is_err_and(|why| why.contains("/nonexistent/config.json")));
    }
}
