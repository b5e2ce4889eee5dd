//! `tidegate filter new`: a project that builds and passes its tests, from a template.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::build::short;
use super::screen::show;

/// `tidegate filter new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Folder to make; its last part is the filter's name.
    path: PathBuf,
    /// What the filter begins as.
    #[arg(long, value_enum, default_value_t = Template::Transform)]
    template: Template,
    /// A clone of Tidegate whose SDK is used. Default: the one that this binary was built in, else the published SDK.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// What a filter may begin as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Requests need an API key.
    Auth,
    /// Fields of requests and responses are changed.
    Transform,
    /// An auth server is asked.
    Callout,
    /// Bodies are read and changed.
    Body,
    /// Clients may send so many requests a minute.
    RateLimit,
    /// Connections of bytes are looked at.
    Tcp,
}

/// The files of a template.
struct Source {
    code: &'static str,
    config: &'static str,
    /// Further arguments of `tidegate filter run`.
    run: &'static str,
    /// Something to try while it runs.
    attempt: &'static str,
}

macro_rules! source {
    ($name:literal, $run:literal, $attempt:literal) => {
        Source {
            code: include_str!(concat!("../../templates/", $name, ".rs")),
            config: include_str!(concat!("../../templates/", $name, ".json")),
            run: $run,
            attempt: $attempt,
        }
    };
}

impl Template {
    fn source(self) -> Source {
        match self {
            Self::Auth => source!("auth", "", "curl -i -H 'x-api-key: alpha' http://127.0.0.1:8080/"),
            Self::Transform => source!("transform", "", "curl -i -H 'x-debug: 1' http://127.0.0.1:8080/"),
            Self::Callout => source!(
                "callout",
                " --upstream auth=127.0.0.1:9000",
                "curl -i -H 'authorization: Bearer good' http://127.0.0.1:8080/"
            ),
            Self::Body => source!("body", "", "curl -i -d 'some text' http://127.0.0.1:8080/"),
            Self::RateLimit => source!("rate-limit", "", "curl -i http://127.0.0.1:8080/"),
            Self::Tcp => source!("tcp", " --tcp", "printf 'hello\\n' | nc -q 1 127.0.0.1 8080"),
        }
    }
}

/// Makes the project.
pub(crate) fn new(args: &NewArgs) -> Result<ExitCode> {
    let name = name(&args.path)?;
    let sdk = Sdk::find(args.sdk.as_deref())?;
    if args.path.exists() {
        bail!("{} is there already; name a folder that is not", args.path.display());
    }
    let source = args.template.source();
    for (file, text) in files(name, &source, &sdk) {
        let path = args.path.join(file);
        let folder = path.parent().unwrap_or(&args.path);
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    show(&format!("{} is made, {}\n", args.path.display(), sdk.description()));
    show(&format!("  cd {}", args.path.display()));
    show("  tidegate filter test");
    show("  tidegate filter build");
    show(&format!(
        "  tidegate filter run target/filters/{} --config config.json{}",
        module(name),
        source.run
    ));
    show(&format!("  {}", source.attempt));
    Ok(ExitCode::SUCCESS)
}

/// Every file with its text.
fn files(name: &str, source: &Source, sdk: &Sdk) -> Vec<(&'static str, String)> {
    let about = source.code.lines().next().unwrap_or_default().trim_start_matches("//! ");
    // What stands there only for filters that call a server.
    let calls = |text: &'static str| if source.run.contains("--upstream") { text } else { "" };
    let protocol = if source.run.contains("--tcp") { "tcp" } else { "http" };
    let fill = |text: &str| {
        text.replace("{name}", name)
            .replace("{module}", &module(name))
            .replace("{about}", about)
            .replace("{run}", source.run)
            .replace("{try}", source.attempt)
            .replace("{hint}", calls(AUTH_SERVER))
            .replace("{protocol}", protocol)
            .replace("{capabilities}", calls("\n    capabilities: { upstreams: [auth] }"))
            .replace("{upstream}", calls("\n  auth: { servers: [\"127.0.0.1:9000\"] }"))
            .replace("{fetch}", &sdk.fetch())
            .replace("{sdk}", &sdk.dependency("tidegate-sdk"))
            .replace("{sdk-test}", &sdk.dependency("tidegate-sdk-test"))
    };
    vec![
        ("Cargo.toml", fill(include_str!("../../templates/Cargo.toml.txt"))),
        ("src/lib.rs", source.code.to_owned()),
        ("config.json", source.config.to_owned()),
        ("tidegate.yaml", fill(include_str!("../../templates/tidegate.yaml.txt"))),
        ("README.md", fill(include_str!("../../templates/README.md.txt"))),
        (".github/workflows/ci.yml", fill(include_str!("../../templates/ci.yml.txt"))),
        (".gitignore", "/target\n".to_owned()),
    ]
}

/// The module's file name.
fn module(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

/// The name of a project in this folder.
fn name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !starts || !name.chars().all(valid) {
        bail!("{name:?} is no name of a filter; wanted lower-case letters, digits and -, as in geo-guard");
    }
    if RESERVED.contains(&name) || KEYWORDS.split_whitespace().any(|word| word == name) {
        bail!(
            "{name:?} means something else to cargo or Rust; choose another name, for instance {name}-filter"
        );
    }
    Ok(name)
}

/// Where the SDK comes from.
enum Sdk {
    /// The `sdk` folder of a clone.
    Clone(PathBuf),
    /// crates.io.
    Published,
}

impl Sdk {
    fn find(wanted: Option<&Path>) -> Result<Self> {
        let of = |folder: PathBuf| folder.join("tidegate-sdk/Cargo.toml").is_file().then_some(folder);
        if let Some(path) = wanted {
            let found = of(path.join("sdk")).or_else(|| of(path.to_owned()));
            let Some(found) = found else {
                bail!("{} has no sdk/tidegate-sdk; name a clone of Tidegate", path.display());
            };
            return Ok(Self::Clone(
                found.canonicalize().with_context(|| format!("cannot read {}", found.display()))?,
            ));
        }
        let binary = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
        let beside =
            binary.iter().flat_map(|path| path.ancestors()).find_map(|folder| of(folder.join("sdk")));
        let built_in = || of(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.join("sdk"));
        Ok(beside.or_else(built_in).map_or(Self::Published, Self::Clone))
    }

    fn dependency(&self, name: &str) -> String {
        match self {
            // The same in TOML, where a path has no control characters.
            Self::Clone(folder) => format!("{{ path = {:?} }}", folder.join(name).display().to_string()),
            Self::Published => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
        }
    }

    /// How a machine gets it that has only the project: a step of CI.
    fn fetch(&self) -> String {
        let Self::Clone(folder) = self else { return String::new() };
        let clone = folder.parent().unwrap_or(folder).display();
        format!(
            "\n      # Cargo.toml has the SDK by its folder on the machine that made this project. It is put there:\n      \
             - run: sudo git clone --depth 1 {} '{clone}'",
            env!("CARGO_PKG_REPOSITORY")
        )
    }

    fn description(&self) -> String {
        match self {
            Self::Clone(folder) => format!("with the SDK of {}", short(folder).display()),
            Self::Published => format!("with the SDK {} of crates.io", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// A server to try a filter with that asks one; with what it has in its folder it says yes.
const AUTH_SERVER: &str = "
Without an auth server of your own, this is one that lets every request pass, until `auth/check` is removed:

    mkdir -p auth && touch auth/check
    python3 -m http.server 9000 --bind 127.0.0.1 --directory auth
";

/// Names that cargo or Rust have for something else.
const RESERVED: [&str; 7] = ["test", "core", "std", "alloc", "proc-macro", "build", "tidegate-sdk"];

/// Words that no crate can be named by.
const KEYWORDS: &str = "
    abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if impl in
    let loop macro match mod move mut override priv pub ref return self static struct super trait true try type typeof
    unsafe unsized use virtual where while yield
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for template in Template::value_variants() {
            let source = template.source();
            for (file, text) in files("geo-guard", &source, &Sdk::Published) {
                for left in [
                    "{name}",
                    "{module}",
                    "{sdk",
                    "{try}",
                    "{run}",
                    "{hint}",
                    "{protocol}",
                    "{upstream}",
                    "{capabilities}",
                    "{about}",
                    "{fetch}",
                ] {
                    assert!(!text.contains(left), "{template:?} {file}: {left}");
                }
            }
            let config: serde_json::Value = serde_json::from_str(source.config).expect("JSON");
            assert!(config.is_object(), "{template:?}");
        }
    }

    #[test]
    fn the_workflow_gets_an_sdk_that_is_a_clone() {
        let workflow = |sdk: &Sdk| {
            let files = files("geo-guard", &Template::Auth.source(), sdk);
            files
                .into_iter()
                .find(|(file, _)| file.ends_with("ci.yml"))
                .map(|(_, text)| text)
                .expect("a workflow")
        };
        let clone = workflow(&Sdk::Clone("/home/ann/tidegate/sdk".into()));
        assert!(clone.contains("/tidegate '/home/ann/tidegate'\n      - run: rustup"), "{clone}");
        assert!(!workflow(&Sdk::Published).contains("git clone"));
    }

    #[test]
    fn names_are_those_of_packages() {
        assert_eq!(name(Path::new("a/geo-guard")).ok(), Some("geo-guard"));
        for wrong in ["", "..", "Geo", "7up", "a b", "test", "core", "match", "self"] {
            assert!(name(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
