//! Events that are not delivered yet, a file each, in the order in which they were reported.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What the server will never take.
const REFUSED: &str = "refused";

/// A folder of events.
pub(super) struct Spool {
    folder: PathBuf,
}

/// One event in it.
pub(super) struct Spooled {
    path: PathBuf,
    pub(super) body: String,
}

impl Spool {
    /// A folder, made if it is not there. Only its owner can read it: reports speak of people.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Keeps an event under a name that sorts behind those of earlier ones. It is on the disk when this returns.
    pub(super) fn keep(&self, id: &str, body: &str) -> io::Result<Spooled> {
        let path = self.folder.join(format!("{id}.json"));
        let unfinished = self.folder.join(format!("{id}.part"));
        let mut file = File::create(&unfinished)?;
        file.write_all(body.as_bytes())?;
        file.sync_all()?;
        fs::rename(unfinished, &path)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Spooled { path, body: body.to_owned() })
    }

    /// All events, oldest first.
    pub(super) fn events(&self) -> io::Result<Vec<Spooled>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        let mut events = Vec::new();
        for path in paths {
            match fs::read_to_string(&path) {
                Ok(body) => events.push(Spooled { path, body }),
                // Another process has just delivered it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    /// Forgets a delivered event.
    pub(super) fn remove(event: &Spooled) -> io::Result<()> {
        match fs::remove_file(&event.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts an event aside that the server will never take; gives its new place.
    pub(super) fn set_aside(&self, event: &Spooled) -> io::Result<PathBuf> {
        let folder = self.folder.join(REFUSED);
        fs::create_dir_all(&folder)?;
        let path = folder.join(event.path.file_name().unwrap_or_default());
        fs::rename(&event.path, &path)?;
        Ok(path)
    }
}
