//! Which folders must be watched so that no change of a file is missed.
//!
//! A file is watched by its folder, because editors and Kubernetes replace files instead of writing them. Where a part
//! of the path is a symbolic link, the folder that holds the link is watched too: a swap of `..data` is seen there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Adds the folders to watch for `path`, which must be absolute. Where a folder is missing, the deepest one that exists
/// is added: the missing one will come there.
pub(crate) fn add(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let mut rest = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let metadata = fs::symlink_metadata(&next);
        if rest.is_empty() || metadata.is_err() {
            folders.insert(at.clone());
        }
        let Ok(metadata) = metadata else { return };
        if !metadata.is_symlink() {
            at = next;
            continue;
        }
        folders.insert(at.clone());
        links += 1;
        let Ok(target) = fs::read_link(&next) else { return };
        if links > MOST_LINKS {
            return;
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        rest.extend(names(&target));
    }
}

/// The components of a path, last one first.
fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// As many as Linux follows in one path.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::symlink;

    fn folders(path: &Path) -> Vec<PathBuf> {
        let mut folders = BTreeSet::new();
        add(path, &mut folders);
        folders.into_iter().collect()
    }

    #[test]
    fn a_plain_file_is_watched_by_its_folder() {
        let scratch = Scratch::new("folders-plain");
        let file = scratch.write("a.yaml", "");
        assert_eq!(folders(&file), [scratch.path()]);
    }

    #[test]
    fn a_missing_file_is_watched_where_it_would_come() {
        let scratch = Scratch::new("folders-missing");
        assert_eq!(folders(&scratch.path().join("a.yaml")), [scratch.path()]);
        assert_eq!(folders(&scratch.path().join("not/there/a.yaml")), [scratch.path()]);
    }

    #[test]
    fn a_kubernetes_volume_is_watched_at_both_links() {
        let scratch = Scratch::new("folders-kubernetes");
        let version = scratch.path().join("..2026_01");
        fs::create_dir(&version).expect("a new folder");
        fs::write(version.join("a.yaml"), "").expect("a new file");
        symlink("..2026_01", scratch.path().join("..data")).expect("a new link");
        symlink("..data/a.yaml", scratch.path().join("a.yaml")).expect("a new link");
        assert_eq!(folders(&scratch.path().join("a.yaml")), [scratch.path(), &version]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let scratch = Scratch::new("folders-circle");
        symlink("b", scratch.path().join("a")).expect("a new link");
        symlink("a", scratch.path().join("b")).expect("a new link");
        assert_eq!(folders(&scratch.path().join("a")), [scratch.path()]);
    }
}
