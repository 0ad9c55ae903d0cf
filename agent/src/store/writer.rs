//! The one thread that flushes.

use super::blobs::Blobs;
use super::keys::durable_after_a_flush;
use super::lock;
use super::mark::Mark;
use ha_node::log_store::Durable;
use std::fs::File;
use std::io;
use std::sync::{Mutex, mpsc};

/// Group commit: everything that was applied before a flush is durable after it.
///
/// What has failed once stays failed: the kernel reports a lost write one time only, and what comes after it would
/// stand on a hole.
pub(super) fn write_loop(
    db: &sled::Db,
    file: &File,
    mut blobs: Blobs,
    tree: &sled::Tree,
    mark: &Mutex<Mark>,
    inbox: &mpsc::Receiver<Durable>,
    on_failed: &dyn Fn(&io::Error),
) {
    let mut failed: Option<(io::ErrorKind, String)> = None;
    while let Ok(first) = inbox.recv() {
        let mut waiting = vec![first];
        waiting.extend(inbox.try_iter());
        if failed.is_none() {
            // The mark follows what is durable; a crash of the machine may leave an older one, which asks for less.
            let sure = durable_after_a_flush(tree);
            let flushed = db
                .flush()
                .map_err(io::Error::other)
                .and_then(|_| blobs.sync())
                .and_then(|()| file.sync_data());
            let flushed = flushed.and_then(|()| lock(mark).raise(sure?));
            if let Err(e) = &flushed {
                on_failed(e);
            }
            failed = flushed.err().map(|e| (e.kind(), e.to_string()));
        }
        for done in waiting {
            done(
                failed
                    .clone()
                    .map_or(Ok(()), |(kind, text)| Err(io::Error::new(kind, text))),
            );
        }
    }
}
