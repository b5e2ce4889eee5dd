//! How the module of a plugin is fetched, who must have signed it, what it must do before it is used.

use std::path::PathBuf;
use std::time::Duration;

/// Everything about a module but where it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loading {
    /// For modules that come over the network.
    pub fetch: Fetch,
    /// PEM file of ed25519 public keys; one of them must have signed the module. None: signatures are not asked for.
    pub signature: Option<PathBuf>,
    /// Requests that a new version must treat as told before it is used.
    pub tests: Vec<PluginTest>,
}

/// How a module is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Whether a registry is asked although the module is known.
    pub pull: Pull,
    /// How often a registry is asked again, with [`Pull::Always`] (default 5 min).
    pub refresh: Duration,
    /// One attempt, all of its requests together (default 30 s).
    pub timeout: Duration,
    /// PEM file of the authorities that the server's certificate comes from; none: the system's.
    pub ca: Option<PathBuf>,
    /// Docker configuration file with credentials; none: the one of the user, if there is one.
    pub pull_secret: Option<PathBuf>,
    /// The registry speaks HTTP without TLS.
    pub plain_http: bool,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            pull: Pull::IfNotPresent,
            refresh: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            ca: None,
            pull_secret: None,
            plain_http: false,
        }
    }
}

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pull {
    /// When nothing is known of the reference.
    IfNotPresent,
    /// At the start, at each reload, and every [`Fetch::refresh`].
    Always,
}

/// A module in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    /// Host, with a port where it is not the usual one.
    pub registry: String,
    /// Name of the repository.
    pub repository: String,
    /// Its tag; with a digest beside it only for people.
    pub tag: Option<String>,
    /// `sha256:` and the digest of the manifest.
    pub digest: Option<String>,
}

impl OciReference {
    /// What the registry is asked for.
    #[must_use]
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

impl std::fmt::Display for OciReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// A request, and what a plugin must do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginTest {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body; empty: none.
    pub body: String,
    /// What must come of it.
    pub expect: Expect,
}

/// What must come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The plugin answers with this status; none: the request goes on.
    pub status: Option<u16>,
    /// Fields that the answer, or the request that goes on, must have.
    pub headers: Vec<(String, String)>,
    /// Names of fields that it must not have.
    pub absent: Vec<String>,
    /// A text that must be in its body.
    pub body: Option<String>,
}
