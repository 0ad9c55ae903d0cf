//! How records are written: one byte that names the format, then bincode. Used on disk and between nodes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// The only format so far.
const FORMAT: u8 = 1;
/// The largest record that is read, in bytes: a snapshot of a full stick table is about 10 MiB.
pub const RECORD_MAX: usize = 256 << 20;

/// Encodes a record.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard()).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Decodes a record; every byte must belong to it.
///
/// # Errors
/// `InvalidData` for an unknown format, a malformed or an oversized record, or bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let body = match bytes.split_first() {
        Some((&FORMAT, body)) => body,
        Some((other, _)) => return Err(bad(format!("record format {other} is not known to this version (it knows {FORMAT}): a newer ha-agent wrote it"))),
        None => return Err(bad("empty record".to_owned())),
    };
    let config = bincode::config::standard().with_limit::<RECORD_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(body, config).map_err(|e| bad(format!("malformed record: {e}")))?;
    if used != body.len() {
        return Err(bad(format!("malformed record: {} bytes left over", body.len() - used)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_any_other_bytes_are_an_error() {
        let bytes = encode(&(7u64, "seven".to_owned())).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (7, "seven".to_owned()));
        for cut in 0..bytes.len() {
            assert!(decode::<(u64, String)>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode::<(u64, String)>(&[bytes.as_slice(), &[0]].concat()).is_err(), "left over");
        assert!(decode::<(u64, String)>(&[&[9], &bytes[1..]].concat()).unwrap_err().to_string().contains("newer"));
        let huge_length = [FORMAT, 1, 253, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(decode::<(u64, String)>(&huge_length).is_err());
    }
}
