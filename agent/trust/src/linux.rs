//! Files that nobody else reads, and directories whose entries survive a power cut.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Only the owner reads and writes what is made with these.
pub(crate) fn for_the_owner_only(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// The disk refuses.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let directory = if directory.as_os_str().is_empty() {
        here
    } else {
        directory
    };
    File::open(directory)?.sync_all()
}
