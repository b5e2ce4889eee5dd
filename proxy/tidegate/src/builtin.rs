//! The filters that come with the gateway, named `builtin:NAME` in a configuration: in the binary, or in a folder
//! that was installed beside it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a module is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// In the binary.
    Embedded(&'static [u8]),
    /// In a file of the installation.
    File(PathBuf),
}

/// The module behind `builtin:NAME`; the error says which names there are.
pub(crate) fn find(name: &str) -> Result<Builtin, String> {
    match module(name) {
        Some(bytes) => Ok(Builtin::Embedded(bytes)),
        None => in_folders(name, &folders()),
    }
}

/// The module in the binary, if this build has it.
pub(crate) fn module(name: &str) -> Option<&'static [u8]> {
    MODULES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

fn in_folders(name: &str, folders: &[PathBuf]) -> Result<Builtin, String> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    if let Some(path) = folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file()) {
        return Ok(Builtin::File(path));
    }
    let embedded = MODULES.iter().map(|(name, _)| (*name).to_owned());
    let names: BTreeSet<String> = embedded.chain(folders.iter().flat_map(|folder| names(folder))).collect();
    let meant = tidegate_config::guess(name, names.iter().map(String::as_str));
    let meant = meant.map(|meant| format!(" (did you mean \"{meant}\"?)")).unwrap_or_default();
    let known = match names.is_empty() {
        true => {
            let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            format!(
                "this build has none, and there is none in {}; `cargo xtask filters` makes them",
                searched.join(", ")
            )
        }
        false => format!("there are {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Err(format!("there is no builtin module \"{name}\"{meant}: {known}"))
}

/// The names of the modules in a folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let modules = paths.filter(|path| path.extension().is_some_and(|end| end == "wasm"));
    modules.filter_map(|path| Some(path.file_stem()?.to_str()?.replace('_', "-"))).collect()
}

/// `$TIDEGATE_FILTERS`, then `filters` beside the binary, beside its folder, and in `lib/tidegate` of its prefix.
fn folders() -> Vec<PathBuf> {
    let named = env::var_os("TIDEGATE_FILTERS").filter(|value| !value.is_empty()).map(PathBuf::from);
    let binary = env::current_exe().ok().and_then(|binary| Some(binary.parent()?.to_owned()));
    let beside = binary.into_iter().flat_map(|folder| {
        let prefix = folder.parent().unwrap_or(Path::new("/")).to_owned();
        [folder.join("filters"), prefix.join("filters"), prefix.join("lib/tidegate/filters")]
    });
    named.into_iter().chain(beside).collect()
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn an_installed_folder_is_searched() {
        let scratch = Scratch::new("builtin-folder");
        let path = scratch.write("rate_limit.wasm", "module");
        scratch.write("readme.txt", "");
        let folders = [PathBuf::from("/nonexistent"), scratch.path().to_owned()];
        assert_eq!(in_folders("rate-limit", &folders), Ok(Builtin::File(path)));
        let why = in_folders("nothing", &folders).expect_err("there is none");
        assert!(why.contains("no builtin module \"nothing\"") && why.contains("rate-limit"), "{why}");
        let why = in_folders("ratelimit", &folders).expect_err("there is none");
        assert!(
            why.starts_with(
                "there is no builtin module \"ratelimit\" (did you mean \"rate-limit\"?): there are "
            ),
            "{why}"
        );
    }
}
