//! A disk that can be filled to the last page: a file system in memory, mounted over a test's directory.
//!
//! Mounting needs rights that not everybody has. So a test that mounts runs itself again in a mount namespace of its own
//! (and, as an ordinary user, in a user namespace in which it is root). What it mounted is gone with its process, however
//! that ends.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Scratch, variable};

/// What a filled disk is allocated by.
pub(crate) const PAGE: u64 = 4096;

/// Says that the process is in a namespace of its own.
const MAY_MOUNT: &str = "CALLOPS_TEST_MAY_MOUNT";
const FILLER: &str = "filler";
/// As root, and as anybody else where the system lets them be root of a namespace.
const NAMESPACES: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Where a test stands that wants to mount.
pub(crate) enum Mounting {
    /// It may.
    Here,
    /// It ran again where it may, and passed; this is what it said.
    Elsewhere(String),
    /// Nobody may on this system.
    Nowhere,
}

/// Runs this test, by its full name, again in a place where it may mount, if there is one and this is not it.
///
/// # Panics
/// When it does not pass there, or is not found by that name, which the test harness takes for a success.
pub(crate) fn where_to_mount(test: &str) -> Mounting {
    if variable(MAY_MOUNT).is_some() {
        return Mounting::Here;
    }
    let scratch = Scratch::new();
    let Some(namespace) = NAMESPACES.into_iter().find(|namespace| may_mount(namespace, scratch.path())) else {
        return Mounting::Nowhere;
    };
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new("unshare")
        .args(namespace)
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(MAY_MOUNT, "yes")
        .output()
        .expect("unshare can be started");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok. 1 passed;"), "{test} did not run: {said}");
    Mounting::Elsewhere(said.into_owned())
}

fn may_mount(namespace: &[&str], folder: &Path) -> bool {
    let output =
        Command::new("unshare").args(namespace).arg("mount").args(mount_options(64 * 1024)).arg(folder).output();
    output.is_ok_and(|output| output.status.success())
}

fn mount_options(bytes: u64) -> [String; 5] {
    ["-t", "tmpfs", "-o", &format!("size={bytes}"), "callops-test"].map(str::to_owned)
}

/// A file system mounted over a directory until this is dropped.
#[derive(Debug)]
pub(super) struct Mount(PathBuf);

impl Mount {
    pub(super) fn new(folder: &Path, bytes: u64) -> Self {
        let output =
            Command::new("mount").args(mount_options(bytes)).arg(folder).output().expect("mount can be started");
        assert!(output.status.success(), "cannot mount: {output:?}");
        Self(folder.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Fills the disk of this directory until so many bytes are left, rounded down to pages.
pub(crate) fn fill(folder: &Path, leave: u64) {
    let mut filler = OpenOptions::new().create(true).append(true).open(folder.join(FILLER)).expect("a file");
    let page = vec![0x55; usize::try_from(PAGE).expect("a small number")];
    loop {
        match filler.write_all(&page) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("the disk cannot be filled: {error}"),
        }
    }
    let full = filler.metadata().expect("its size").len();
    let shorter = full.checked_sub(leave / PAGE * PAGE).expect("a disk that was larger than what is to be left");
    filler.set_len(shorter).expect("a shorter file");
}

/// Takes away what [`fill`] put there.
pub(crate) fn make_room(folder: &Path) {
    std::fs::remove_file(folder.join(FILLER)).expect("the filler");
}
