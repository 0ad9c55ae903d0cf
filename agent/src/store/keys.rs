//! What is in the log's tree, by its keys: entries by index, small records by name, and how many writes there were.

use super::mark::Sure;
use ha_node::log_store::Meta;
use std::io;

/// The key of the number of writes, in the log itself.
pub(super) const WRITES: &[u8] = b"w";

/// Reads everything once: an index that is missing between first and last, or a key that is none of ours, is damage.
/// The index of the last entry.
pub(super) fn check_records(tree: &sled::Tree) -> Result<Option<u64>, String> {
    let mut last: Option<u64> = None;
    for item in tree.scan_prefix(b"l") {
        let (key, _) = item.map_err(|e| e.to_string())?;
        let index = index_of(&key).ok_or_else(|| format!("key {key:?} is not a log index"))?;
        if let Some(before) = last
            && before + 1 != index
        {
            return Err(format!(
                "log entries {} to {} are missing",
                before + 1,
                index - 1
            ));
        }
        last = Some(index);
    }
    Ok(last)
}

pub(super) fn last_index(tree: &sled::Tree) -> io::Result<Option<u64>> {
    let last = tree
        .scan_prefix(b"l")
        .next_back()
        .transpose()
        .map_err(io::Error::other)?;
    Ok(last.and_then(|(key, _)| index_of(&key)))
}

pub(super) fn counted_writes(tree: &sled::Tree) -> io::Result<u64> {
    let stored = tree.get(WRITES).map_err(io::Error::other)?;
    stored.map_or(Ok(0), |bytes| {
        bytes
            .as_ref()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| io::Error::other("the number of writes is no number"))
    })
}

/// The number first: what is taken away after it was read makes the mark forget the end that goes with it.
pub(super) fn durable_after_a_flush(tree: &sled::Tree) -> io::Result<Sure> {
    let writes = counted_writes(tree)?;
    Ok(Sure {
        writes,
        end: last_index(tree)?.map_or(0, |l| l + 1),
    })
}

pub(super) fn log_key(index: u64) -> [u8; 9] {
    let mut key = [b'l'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(b"l")?.try_into().ok()?))
}

pub(super) const fn meta_key(key: Meta) -> &'static [u8] {
    match key {
        Meta::Vote => b"m-vote",
        Meta::Purged => b"m-purged",
        Meta::Committed => b"m-committed",
    }
}
