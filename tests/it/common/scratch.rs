//! A directory that is gone when the test is over.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary directory with a path of constant length, so that tables that show it have constant widths.
#[derive(Debug)]
pub(crate) struct Scratch {
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
        Self { dir, path }
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

    /// Writes a file, with the directories above it, and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("the parents can be created");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}
