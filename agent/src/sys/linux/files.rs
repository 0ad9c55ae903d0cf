//! Files in directories that others may reach: opened as what they are, never as what a link says.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Group and others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Who may write may not remove what others made, as in `/tmp`.
const STICKY: u32 = 0o1000;
/// The user of the unit.
const SERVICE: &str = "ha-agent";

/// Opens a plain file, and no link.
///
/// # Errors
/// As the options; a link, a device, a name that the file shares with another.
pub fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => wrong(path, "is a link: remove it, the agent opens no links here"),
            _ => e,
        })?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(wrong(
            path,
            "is no file of its own (a device, or a second name of another file): remove it",
        ));
    }
    Ok(file)
}

/// Locks a file against other processes until it is closed. Whether none of them has it.
///
/// # Errors
/// A file system that knows no locks.
pub fn lock(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for the length of the call.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        e => Err(e),
    }
}

/// Makes sure that nobody else makes files in a directory that is there. Root looks at all directories above it too:
/// who may write there can put another one in its place.
///
/// # Errors
/// Whose it is, or who may write there.
pub fn check_own_directory(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let above = if own_user() == 0 { usize::MAX } else { 0 };
    check_directory(&path, false)?;
    let mut above = path.ancestors().skip(1).take(above);
    above.try_for_each(|directory| check_directory(directory, true))
}

/// Makes sure that nobody else wrote what is in a file.
///
/// # Errors
/// Whose it is, or who may write to it.
pub fn check_own_file(file: &File, path: &Path) -> io::Result<()> {
    check(&file.metadata()?, path, false)
}

fn check_directory(path: &Path, sticky_will_do: bool) -> io::Result<()> {
    check(&fs::metadata(path)?, path, sticky_will_do)
}

fn check(found: &fs::Metadata, path: &Path, sticky_will_do: bool) -> io::Result<()> {
    let others = found.mode() & OTHERS_WRITE != 0;
    let owner = found.uid();
    if owner != 0 && owner != own_user() && super::super::user_name(owner) != SERVICE {
        let user = super::super::user_name(owner);
        return Err(wrong(
            path,
            &format!(
                "belongs to user {user}, who could put anything into it: use a directory of root's or of the agent's own user"
            ),
        ));
    }
    if others && !(sticky_will_do && found.mode() & STICKY != 0) {
        return Err(wrong(
            path,
            &format!(
                "has mode {:04o}, so others may write to it: `chmod go-w {}`",
                found.mode() & 0o7777,
                path.display()
            ),
        ));
    }
    Ok(())
}

fn wrong(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} {what}", path.display()),
    )
}

fn own_user() -> u32 {
    // SAFETY: it cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn links_and_second_names_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, twin) = (
            dir.path().join("t"),
            dir.path().join("l"),
            dir.path().join("h"),
        );
        fs::write(&target, "somebody's").unwrap();
        symlink(&target, &link).unwrap();
        let open = |path: &Path| {
            let mut options = File::options();
            open_plain(options.write(true).create(true).truncate(true), path)
        };
        assert!(open(&link).unwrap_err().to_string().contains("is a link"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "somebody's");
        assert!(open(&dir.path().join("new")).is_ok());
        fs::hard_link(&target, &twin).unwrap();
        let mut reading = File::options();
        assert!(open_plain(reading.read(true), &twin).is_err());
    }

    #[test]
    fn a_directory_where_others_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mode =
            |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o711);
        check_own_directory(dir.path()).unwrap();
        for others in [0o777, 0o775, 0o1777] {
            mode(others);
            let refused = check_own_directory(dir.path()).unwrap_err().to_string();
            assert!(
                refused.contains("others may write") && refused.contains("chmod go-w"),
                "{refused}"
            );
        }
        mode(0o700);
        if own_user() != 0 {
            println!("whose it is: looked at as root only");
            return;
        }
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        let refused = check_own_directory(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("belongs to user"), "{refused}");
        let within = dir.path().join("within");
        fs::create_dir(&within).unwrap();
        assert!(
            check_own_directory(&within).is_err(),
            "what is above counts too"
        );
    }
}
