//! One process at a time manages the addresses and tables of a network namespace.
//!
//! It holds a lock on a file that is named after the namespace, in a directory in which only root and the service's
//! user make files: nobody else can take the lock, and nothing that anybody does makes the asking wait. The kernel
//! gives a lock back when its process ends, however that was. Processes that share a namespace share `/run` too.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::types::{HeldBy, VipError};

/// Made by the service manager for the unit, else by root.
const DIRECTORY: &str = "/run/ha-agent";
/// Who may write into a directory beside its owner.
const OTHERS_WRITE: u32 = 0o022;

/// As long as it lives, no other process can have it. Children do not inherit it.
pub(super) struct Only {
    _lock: File,
}

impl Only {
    /// # Errors
    /// [`VipError::InUse`] when another process has it; a directory in which others could have made the file.
    pub(super) fn take() -> Result<Only, VipError> {
        let lock_in = |directory: &Path| {
            Only::take_in(directory).map_err(|e| match e {
                Taking::Held(by) => VipError::InUse(by),
                Taking::Failed(e) => {
                    VipError::kernel("take the lock of this machine's addresses")(e)
                }
            })
        };
        match open_directory(Path::new(DIRECTORY), None) {
            Ok(dir) if !not_root() || is_ours(&dir) => lock_in(Path::new(DIRECTORY)),
            // Without root, as in a namespace of one's own: whose files these are, whose namespace it is.
            Ok(_) => lock_in(&own_place()),
            Err(e) if not_root() && e.kind() != io::ErrorKind::InvalidData => lock_in(&own_place()),
            Err(e) => Err(VipError::kernel(
                "take the lock of this machine's addresses",
            )(e)),
        }
    }

    fn take_in(directory: &Path) -> Result<Only, Taking> {
        let own = (directory != Path::new(DIRECTORY)).then(own_user);
        let dir = open_directory(directory, own).map_err(Taking::Failed)?;
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_err(Taking::Failed)?;
        let path = directory.join(format!("addresses-{}.lock", namespace.ino()));
        loop {
            let lock = open_lock(&path, &dir).map_err(Taking::Failed)?;
            // SAFETY: a descriptor that is open for as long as the call takes; the call does not wait.
            if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
                let error = io::Error::last_os_error();
                return Err(if error.kind() == io::ErrorKind::WouldBlock {
                    Taking::Held(held_by(&lock))
                } else {
                    Taking::Failed(error)
                });
            }
            // A directory that was made anew meanwhile has another file, which is the one that counts.
            let (locked, there) = (lock.metadata(), fs::symlink_metadata(&path));
            if let (Ok(locked), Ok(there)) = (&locked, &there)
                && (locked.dev(), locked.ino()) == (there.dev(), there.ino())
            {
                return Ok(Only { _lock: lock });
            }
        }
    }
}

enum Taking {
    Held(HeldBy),
    Failed(io::Error),
}

fn own_user() -> u32 {
    // SAFETY: it cannot fail.
    unsafe { libc::geteuid() }
}

/// Root of a namespace that somebody made for himself is not root of the machine: it cannot write to `/run` either.
fn not_root() -> bool {
    let may = c"/run";
    // SAFETY: a text that ends with a zero; it only asks.
    own_user() != 0
        || unsafe { libc::faccessat(libc::AT_FDCWD, may.as_ptr(), libc::W_OK, libc::AT_EACCESS) }
            != 0
}

fn is_ours(directory: &File) -> bool {
    directory.metadata().is_ok_and(|m| m.uid() == own_user())
}

/// In the user's own directory, else one in `/tmp` that is the user's.
fn own_place() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    own.filter(|d| d.is_absolute()).map_or_else(
        || PathBuf::from(format!("/tmp/ha-agent-{}", own_user())),
        |d| d.join("ha-agent"),
    )
}

/// Opens a directory in which nobody but its owner makes files, and makes it where it is not there. `owner`: whose it
/// must be; `None`: whoever was given it, because only root makes something beside it.
fn open_directory(path: &Path, owner: Option<u32>) -> io::Result<File> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists && !path.exists() => return Err(e),
        _ => {}
    }
    let directory = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    let found = directory.metadata()?;
    let wrong = |what: String| {
        let text = format!(
            "{} {what}: remove it, or give it to the user of ha-agent with mode 0755",
            path.display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    if let Some(owner) = owner.filter(|o| *o != found.uid()) {
        return wrong(format!(
            "belongs to uid {}, not to uid {owner}",
            found.uid()
        ));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return wrong(format!(
            "has mode {:04o}: others may write there",
            found.mode() & 0o7777
        ));
    }
    Ok(directory)
}

/// Nobody but the directory's owner and root can open the file, so nobody else can lock it.
fn open_lock(path: &Path, directory: &File) -> io::Result<File> {
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let (found, owner) = (lock.metadata()?, directory.metadata()?.uid());
    if !found.is_file() || found.nlink() > 1 {
        let text = format!("{} is no file of its own: remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if found.uid() != owner {
        // Root made it for whose directory it is.
        fchown(&lock, Some(owner), None)?;
    }
    Ok(lock)
}

/// As far as `/proc` lets this process see.
fn held_by(lock: &File) -> HeldBy {
    let Ok(file) = lock.metadata() else {
        return HeldBy::default();
    };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{}", file.ino());
    let pid = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&inode);
        is_it.then(|| fields.get(4)?.parse::<u32>().ok()).flatten()
    });
    let Some(pid) = pid.filter(|pid| *pid > 0) else {
        return HeldBy::default();
    };
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    HeldBy {
        pid: Some(pid),
        uid: fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid()),
        program: program.trim().escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn place() -> PathBuf {
        let path = std::env::temp_dir().join(format!(
            "ha-only-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        drop(fs::remove_dir_all(&path));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .expect("made");
        path
    }

    #[test]
    fn the_second_is_told_who_is_the_first_and_the_next_has_it_when_that_has_gone() {
        let place = place();
        let Ok(first) = Only::take_in(&place) else {
            panic!("nobody has it");
        };
        let Err(Taking::Held(by)) = Only::take_in(&place) else {
            panic!("it is held");
        };
        assert_eq!(by.pid, Some(std::process::id()));
        assert_eq!(by.uid, Some(own_user()));
        let said = VipError::InUse(by).to_string();
        assert!(said.contains(&std::process::id().to_string()), "{said}");
        drop(first);
        assert!(Only::take_in(&place).is_ok());
        fs::remove_dir_all(place).expect("removed");
    }

    #[test]
    fn a_place_where_others_write_and_files_that_others_made_are_refused() {
        let place = place();
        let refused = |place: &Path| match Only::take_in(place) {
            Err(Taking::Failed(e)) => e.to_string(),
            _ => panic!("it was taken"),
        };
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(refused(&place).contains("others may write"));
        fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).expect("changed");
        let namespace = fs::metadata("/proc/thread-self/ns/net")
            .expect("linux")
            .ino();
        let lock = place.join(format!("addresses-{namespace}.lock"));
        std::os::unix::fs::symlink("/etc/passwd", &lock).expect("a link");
        assert!(!refused(&place).is_empty());
        fs::remove_dir_all(&place).expect("removed");
        let target = place.with_extension("target");
        fs::create_dir_all(&target).expect("made");
        std::os::unix::fs::symlink(&target, &place).expect("a link");
        assert!(!refused(&place).is_empty());
        drop((fs::remove_file(&place), fs::remove_dir(&target)));
    }
}
