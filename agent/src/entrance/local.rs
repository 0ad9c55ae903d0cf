//! The local socket, for who sits at the machine.

use super::accepted::Accepted;
use super::{AGAIN, ConnectionInfo, Presented};
use crate::sys::user_name;
use ha_node::outside::Clock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// Who may use the local socket beside root.
const GROUP: &str = "ha-admin";

pub(super) async fn let_in_local(
    listener: UnixListener,
    clock: Arc<dyn Clock>,
    tell: mpsc::Sender<io::Result<Accepted>>,
) {
    loop {
        let stream = tokio::select! {
            biased;
            () = tell.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match stream.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) => {
                let visitor = ConnectionInfo {
                    from: None,
                    shows: Presented::Local(user_name(uid)),
                    visit: None,
                };
                tell.send(Ok(Accepted::local(stream, visitor)))
                    .await
                    .unwrap_or(());
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be accepted");
                clock.sleep(AGAIN).await;
            }
        }
    }
}

/// The local socket: for root, and for the group `ha-admin` where there is one.
///
/// # Errors
/// A path that cannot be used.
pub fn local_socket(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    match std::fs::symlink_metadata(path) {
        // What an agent left that was killed: this one has the lock of the data directory.
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is there",
            ));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let grouped = group_id(GROUP).map(|gid| std::os::unix::fs::lchown(path, None, Some(gid)));
    if let Some(Err(error)) = &grouped {
        tracing::warn!(%error, group = GROUP, path = %path.display(), "the local socket could not be given to its group: only root and this agent's user can use it");
    }
    let mode = if matches!(grouped, Some(Ok(()))) {
        0o660
    } else {
        0o600
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .split(':')
            .nth(1)?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_systems_files() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_001), "uid 4000000001");
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no-such-group"), None);
    }
}
