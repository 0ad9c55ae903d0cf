//! A file that a command is going to fill: found to be writable before the cluster is asked for anything.

use std::path::Path;

use crate::exit::{Exit, Failure};

/// A file that was not there and can be written; removed again unless it is kept.
pub(super) struct NewFile<'a>(Option<&'a Path>);

impl<'a> NewFile<'a> {
    /// Makes the empty file, readable by its owner only.
    ///
    /// # Errors
    /// It is there already, or its directory cannot be written.
    pub(super) fn create(path: &'a Path) -> Result<Self, Failure> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(_) => Ok(NewFile(Some(path))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(
                Exit::Usage,
                format!("{} is there already", path.display()),
            )
            .remedy("name another file, or move it away")),
            Err(e) => Err(
                Failure::new(Exit::Usage, format!("{}: {e}", path.display()))
                    .remedy("name a file in a directory that you may write"),
            ),
        }
    }

    /// What was written to it stays.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
