//! Bytes under a passphrase: what a backup file is.
//!
//! ```text
//!   "HA-BACKUP" format memory passes salt nonce | encrypted, authenticated together with all before it
//! ```

use crate::random;
use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead;
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"HA-BACKUP";
const FORMAT: u8 = 1;
/// What a guess costs, with Argon2id: RFC 9106's second choice, in one lane.
const COST: Cost = Cost {
    memory: 64 << 10,
    passes: 3,
};
/// A file that asks for more is made to keep somebody busy.
const COST_MAX: Cost = Cost {
    memory: 1 << 20,
    passes: 16,
};
const SALT: usize = 16;
const HEAD: usize = MAGIC.len() + 1 + 8 + SALT + aead::NONCE_LEN;
/// Fewer letters are guessed, whatever a guess costs.
pub const LETTERS_MIN: usize = 12;

/// What it takes to make a key of a passphrase.
#[derive(Clone, Copy)]
struct Cost {
    /// What the derivation uses, in KiB.
    memory: u32,
    passes: u32,
}

/// The passphrase: from a file's first line, else from `HA_PASSPHRASE`, else asked for on the terminal, `twice` when
/// it is a new one.
///
/// # Errors
/// No file, no terminal, or two that are not the same.
pub fn ask(file: Option<&Path>, twice: bool) -> Result<String, String> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if let Ok(passphrase) = std::env::var("HA_PASSPHRASE") {
        return Ok(passphrase);
    }
    let prompt = |text: &str| {
        rpassword::prompt_password(text).map_err(|e| format!("the passphrase cannot be asked for ({e}): name a file with --passphrase-file, or set HA_PASSPHRASE"))
    };
    let passphrase = prompt("passphrase: ")?;
    if twice && prompt("the same again: ")? != passphrase {
        return Err("the two are not the same".to_owned());
    }
    Ok(passphrase)
}

/// Encrypts.
///
/// # Errors
/// A passphrase that is too short, or no randomness.
pub fn lock(passphrase: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    if passphrase.chars().count() < LETTERS_MIN {
        return Err(format!(
            "the passphrase is too short: use {LETTERS_MIN} letters or more"
        ));
    }
    let (salt, nonce): ([u8; SALT], [u8; aead::NONCE_LEN]) = (
        random().map_err(|e| e.to_string())?,
        random().map_err(|e| e.to_string())?,
    );
    let (memory, passes) = (COST.memory.to_be_bytes(), COST.passes.to_be_bytes());
    let mut file = [MAGIC, &[FORMAT], &memory, &passes, &salt, &nonce].concat();
    let mut sealed = content.to_vec();
    let head = aead::Aad::from(file.clone());
    key(passphrase, COST, &salt)?
        .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), head, &mut sealed)
        .map_err(|_| "too large to be encrypted")?;
    file.extend_from_slice(&sealed);
    Ok(file)
}

/// Decrypts.
///
/// # Errors
/// No such file, another passphrase, or a file that was changed.
pub fn unlock(passphrase: &str, file: &[u8]) -> Result<Vec<u8>, String> {
    let (head, sealed) = file
        .split_at_checked(HEAD)
        .filter(|(head, _)| head.starts_with(MAGIC))
        .ok_or("this is no backup of a cluster")?;
    let rest = &head[MAGIC.len()..];
    if rest[0] != FORMAT {
        return Err(format!(
            "backup format {} is not known to this version (it knows {FORMAT})",
            rest[0]
        ));
    }
    let number =
        |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let cost = Cost {
        memory: number(1),
        passes: number(5),
    };
    if cost.memory > COST_MAX.memory || cost.passes > COST_MAX.passes {
        return Err(NOT_OURS.to_owned());
    }
    let mut nonce = [0; aead::NONCE_LEN];
    nonce.copy_from_slice(&rest[9 + SALT..]);
    let mut content = sealed.to_vec();
    let opened = key(passphrase, cost, &rest[9..9 + SALT])?.open_in_place(
        aead::Nonce::assume_unique_for_key(nonce),
        aead::Aad::from(head),
        &mut content,
    );
    Ok(opened
        .map_err(|_| "the passphrase is another one, or the backup was changed")?
        .to_vec())
}

const NOT_OURS: &str = "the backup was changed: its header is not one that this program writes";

fn key(passphrase: &str, cost: Cost, salt: &[u8]) -> Result<aead::LessSafeKey, String> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(cost.memory, cost.passes, 1, Some(key.len()));
    let params = params.map_err(|_| NOT_OURS.to_owned())?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|e| format!("no key could be made: {e}"))?;
    aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &*key)
        .map(aead::LessSafeKey::new)
        .map_err(|_| "no key could be made".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_opens_with_its_passphrase_and_unchanged_only() {
        let file = lock("correct horse", b"content").unwrap();
        assert_eq!(unlock("correct horse", &file).unwrap(), b"content");
        assert!(
            unlock("correct horsf", &file)
                .unwrap_err()
                .contains("passphrase")
        );
        assert!(!file.windows(7).any(|w| w == b"content"));
        for at in [0, MAGIC.len(), HEAD - 1, HEAD, file.len() - 1] {
            let mut other = file.clone();
            other[at] ^= 1;
            assert!(unlock("correct horse", &other).is_err(), "byte {at}");
            assert!(unlock("correct horse", &file[..at]).is_err(), "cut at {at}");
        }
        // Of memory, of passes: more than anybody would wait for, and less than Argon2 takes.
        for (at, value) in [(1, 0xff), (5, 0xff), (7, 0xff)] {
            let mut busy = file.clone();
            busy[MAGIC.len() + at] = value;
            let refused = unlock("correct horse", &busy).unwrap_err();
            assert!(refused.contains("header"), "{refused}");
        }
        let mut nothing = file.clone();
        nothing[MAGIC.len() + 1..MAGIC.len() + 9].fill(0);
        assert!(unlock("correct horse", &nothing).is_err());
        assert!(lock("eleven long", b"content").is_err());
    }
}
