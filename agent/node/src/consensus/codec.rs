//! How records are written: one byte that names the format, then bincode. Used on disk and between nodes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// The format of this version. It changes with whatever changes a record: 2 since a drain's end says which drain and how, 3 since the state says who may enter,
/// 4 since checks have kinds, events carry data and members say what they speak.
pub const FORMAT: u8 = 4;
/// The largest record that is read, in bytes: a snapshot of a full stick table is about 10 MiB.
pub const RECORD_MAX: usize = 256 << 20;

/// The largest log entry, in bytes: half of what fits into a peer's message.
pub const ENTRY_MAX: usize = 4 << 20;

/// Encodes a record.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// How long [`encode`] would make it, without making it.
///
/// # Errors
/// None in practice.
pub fn encoded_len<T: Serialize>(value: &T) -> io::Result<usize> {
    let body =
        bincode::serde::encode_into_std_write(value, &mut io::sink(), bincode::config::standard())
            .map_err(io::Error::other)?;
    Ok(1 + body)
}

/// Decodes a record; every byte must belong to it.
///
/// # Errors
/// `InvalidData` for an unknown format, a malformed or an oversized record, or bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let body = match bytes.split_first() {
        Some((&FORMAT, body)) => body,
        Some((other, _)) => {
            let age = if *other > FORMAT {
                "a newer"
            } else {
                "an older"
            };
            return Err(bad(format!(
                "record format {other} is not known to this version (it knows {FORMAT}): {age} ha-agent wrote it, and reads it"
            )));
        }
        None => return Err(bad("empty record".to_owned())),
    };
    let config = bincode::config::standard().with_limit::<RECORD_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(body, config)
        .map_err(|e| bad(format!("malformed record: {e}")))?;
    if used != body.len() {
        return Err(bad(format!(
            "malformed record: {} bytes left over",
            body.len() - used
        )));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole state, bindings included, as a snapshot carries it.
    #[test]
    fn a_state_with_bindings_survives() {
        use ha_core::command::{Command, Stamped};
        use ha_core::id::ServerId;
        use ha_core::state::ClusterState;
        use ha_core::stick::{StickEntry, StickKey};
        use ha_core::time::Timestamp;
        let mut state = ClusterState::default();
        let config = ha_core::model::ClusterConfig {
            bindings_max: 1000,
            ..Default::default()
        };
        let at = Timestamp(1);
        let mut apply = |command| {
            state
                .apply(&Stamped {
                    at,
                    by: "me".into(),
                    command,
                })
                .unwrap()
        };
        apply(Command::Configure {
            config,
            text: "x = 1".into(),
            expect: None,
        });
        let expire = std::time::Duration::from_secs(60);
        let bind = |n: u32| {
            let entry = StickEntry {
                server: ServerId(n),
                host: [10, 0, 0, 1].into(),
                bound_at: at,
                used_at: at,
                expire,
            };
            (
                StickKey {
                    group: "g".into(),
                    client: std::net::IpAddr::V4((0x0a00_0000 + n).into()),
                },
                entry,
            )
        };
        apply(Command::Bind((0..500).map(bind).collect()));
        assert_eq!(state.stick.table().len(), 500);
        let written = encode(&state).unwrap();
        assert_eq!(decode::<ClusterState>(&written).unwrap(), state);
        assert!(
            encode(&state.to_write()).unwrap() == written,
            "the copy for writing says the same"
        );
    }

    #[test]
    fn a_record_survives_and_any_other_bytes_are_an_error() {
        let bytes = encode(&(7u64, "seven".to_owned())).unwrap();
        assert_eq!(
            decode::<(u64, String)>(&bytes).unwrap(),
            (7, "seven".to_owned())
        );
        for cut in 0..bytes.len() {
            assert!(
                decode::<(u64, String)>(&bytes[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        assert!(
            decode::<(u64, String)>(&[bytes.as_slice(), &[0]].concat()).is_err(),
            "left over"
        );
        assert!(
            decode::<(u64, String)>(&[&[9], &bytes[1..]].concat())
                .unwrap_err()
                .to_string()
                .contains("newer")
        );
        let huge_length = [FORMAT, 1, 253, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(decode::<(u64, String)>(&huge_length).is_err());
    }
}
