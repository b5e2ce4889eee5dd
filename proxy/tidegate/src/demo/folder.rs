//! The demo's configuration: a folder with the file, the filter and the keys, for the user to edit.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::upstreams::Upstreams;

/// The folder; one that was made among the temporary files is removed with its owner.
pub(crate) struct Folder {
    path: PathBuf,
    temporary: bool,
}

/// What the configuration says about addresses.
pub(crate) struct Addresses<'a> {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) upstreams: &'a Upstreams,
}

impl Folder {
    /// Makes the folder, or takes an existing one that has no configuration yet.
    pub(crate) fn create(wanted: Option<&Path>) -> Result<Self> {
        let (path, temporary) = match wanted {
            Some(path) => (std::path::absolute(path)?, false),
            None => (std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id())), true),
        };
        // Others must neither read the keys nor put a filter there.
        let made = fs::DirBuilder::new().mode(0o700).recursive(!temporary).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        let folder = Self { path, temporary };
        if folder.configuration().exists() {
            bail!("{} is there already; name another folder with --dir", folder.configuration().display());
        }
        Ok(folder)
    }

    /// Writes all files; the configuration last.
    pub(crate) fn write(&self, addresses: &Addresses<'_>, filter: &[u8]) -> Result<()> {
        let filters = self.path.join("filters");
        fs::create_dir_all(&filters).with_context(|| format!("cannot create {}", filters.display()))?;
        replace(&filters.join("api_key.wasm"), filter)?;
        replace(&self.keys(), format!("{KEY}\n").as_bytes())?;
        replace(&self.configuration(), document(addresses).as_bytes())
    }

    /// The configuration's file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path.join("tidegate.yaml")
    }

    /// The file of keys, one a line.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys.txt")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // Nothing depends on it; the system clears its temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Replaces a file as editors do: a reader sees the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    fs::write(&fresh, bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))
}

fn document(addresses: &Addresses<'_>) -> String {
    let Addresses { gateway, admin, upstreams: Upstreams { v1, v2, echo } } = addresses;
    format!(
        r#"# The demo's configuration. Edit it while the gateway runs: it is taken over as soon as it is saved.
admin:
  address: {admin}

listeners:
  - name: web
    address: {gateway}
    protocol: http

plugins:
  api-key:
    module: filters/api_key.wasm        # replace the file: the new module takes over, requests in flight end on the old one
    config: {{ header: x-api-key, keys: ["${{file:keys.txt}}"] }}

routes:
  - name: demo
    rules:
      - name: orders                    # only with a key
        matches: [{{ path: {{ prefix: /orders }} }}]
        filters: [{{ plugin: api-key }}]
        forward: [{{ upstream: app-v1 }}]

      - name: canary                    # split by weight
        matches: [{{ path: {{ prefix: /canary }} }}]
        forward:
          - {{ upstream: app-v1, weight: 90 }}
          - {{ upstream: app-v2, weight: 10 }}

      - name: moved                     # the upstream sees another path
        matches: [{{ path: {{ prefix: /old }} }}]
        filters: [{{ rewrite: {{ path: {{ prefix: /new }} }} }}]
        forward: [{{ upstream: app-v1 }}]

      - name: websocket
        matches: [{{ path: {{ exact: /ws }} }}]
        forward: [{{ upstream: echo }}]

upstreams:                              # these run inside the demo
  app-v1: {{ servers: ["{v1}"] }}
  app-v2: {{ servers: ["{v2}"] }}
  echo: {{ servers: ["{echo}"] }}
"#
    )
}

/// The key that the demo starts with.
pub(crate) const KEY: &str = "demo-key";

#[cfg(test)]
mod tests {
    use super::*;

    struct Demo;

    impl tidegate_config::Secrets for Demo {
        fn env(&self, name: &str) -> Result<String, String> {
            Err(format!("{name} is not used"))
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            assert_eq!(path, Path::new("/demo/keys.txt"));
            Ok(KEY.to_owned())
        }
    }

    #[test]
    fn the_document_has_no_problems() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let upstreams = Upstreams { v1: server(1), v2: server(2), echo: server(3) };
        let text = document(&Addresses { gateway: any, admin: any, upstreams: &upstreams });
        let source = tidegate_config::SourceText { name: "tidegate.yaml".to_owned(), text };
        match tidegate_config::load(&[source], Path::new("/demo"), &Demo) {
            Ok(loaded) => assert_eq!(loaded.warnings, []),
            Err(problems) => panic!("{problems}"),
        }
    }

    #[test]
    fn a_folder_with_a_configuration_is_left_alone() {
        let scratch = crate::scratch::Scratch::new("demo-folder");
        scratch.write("tidegate.yaml", "mine");
        let why = Folder::create(Some(scratch.path())).err().expect("refused").to_string();
        assert!(why.contains("--dir"), "{why}");
    }
}
