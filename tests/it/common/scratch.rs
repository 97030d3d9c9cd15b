//! A directory that is gone when the test is over.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::small_disk::Mount;

/// A temporary directory with a path of constant length, so that tables that show it have constant widths.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Before the directory, which cannot be removed while something is mounted over it.
    _mount: Option<Mount>,
    dir: TempDir,
    path: PathBuf,
}

impl Scratch {
    /// A new, empty directory.
    pub(crate) fn new() -> Self {
        // Not TMPDIR, whose length differs between machines.
        let base = if cfg!(unix) { PathBuf::from("/tmp") } else { PathBuf::from(".") };
        let dir = tempfile::Builder::new().prefix("callops-it-").rand_bytes(8).tempdir_in(base).expect("a directory");
        // The path that a child sees as its working directory, with symbolic links resolved.
        let path = dir.path().canonicalize().expect("the directory exists");
        Self { _mount: None, dir, path }
    }

    /// A new directory on a disk of its own with so many bytes, for a test that may mount.
    pub(crate) fn on_small_disk(bytes: u64) -> Self {
        let scratch = Self::new();
        Self { _mount: Some(Mount::new(&scratch.path, bytes)), ..scratch }
    }

    /// Where it is, with symbolic links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The paths by which programs may name it, the longest first.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![self.path.display().to_string(), self.dir.path().display().to_string()];
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        names
    }

    /// The file `name` while it is written: it has that name only once it is complete.
    pub(crate) fn unfinished(&self, name: &str) -> Option<PathBuf> {
        unfinished(&self.path, name)
    }

    /// Writes a file, with the directories above it, and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("the parents can be created");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

/// The file `name` in `folder` while it is written: it has that name only once it is complete.
pub(crate) fn unfinished(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("an entry").path());
    let is_part = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(name) && file.ends_with(".part")
    };
    // One that was killed leaves its own behind.
    let changed_at = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    entries.into_iter().filter(is_part).max_by_key(changed_at)
}
