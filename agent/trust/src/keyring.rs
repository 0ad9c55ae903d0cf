//! What a node keeps of its own: whom it believes, its certificate and key, the seal. One file, only its owner reads it.

use crate::TrustError;
use crate::authority::Seal;
use crate::platform;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// See the module. Certificates and keys are DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Of the authorities below, as the log counts them.
    pub generation: u64,
    /// Whose signatures are believed; who signs is the first.
    pub authorities: Vec<Vec<u8>>,
    /// With these an older authority vouches for a newer one.
    pub crosses: Vec<Vec<u8>>,
    /// What this node shows.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS #8; wiped when it goes, as the seal is.
    pub key: Zeroizing<Vec<u8>>,
    /// What opens the authority's key.
    pub seal: Seal,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    format: u32,
    generation: u64,
    authorities: Vec<String>,
    crosses: Vec<String>,
    certificate: String,
    key: String,
    seal: String,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.key.zeroize();
        self.seal.zeroize();
    }
}

const FORMAT: u32 = 1;
/// More than the text of any: what grows leaves copies behind.
const TEXT_MAX: usize = 64 << 10;

impl Keyring {
    /// Where it is kept.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("keyring.json")
    }

    /// Reads it.
    ///
    /// # Errors
    /// No such file, or one that was damaged.
    pub fn load(data_dir: &Path) -> Result<Keyring, TrustError> {
        let path = Self::path(data_dir);
        let wrong = |found: String| TrustError::File {
            file: path.display().to_string(),
            found,
        };
        let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let remedy = "restore the file from a backup, or run `ha-agent rejoin` here: it brings this node back under its name";
        let text = Zeroizing::new(text);
        let disk: OnDisk =
            serde_json::from_str(&text).map_err(|e| wrong(format!("{e}: {remedy}")))?;
        if disk.format != FORMAT {
            return Err(wrong(format!(
                "format {} is not known to this version (it knows {FORMAT})",
                disk.format
            )));
        }
        let bytes = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|e| wrong(format!("{e}: {remedy}")))
        };
        let seal = Zeroizing::new(bytes(&disk.seal)?);
        let seal = <[u8; 32]>::try_from(seal.as_slice())
            .map_err(|_| wrong(format!("a seal that is not 32 bytes long: {remedy}")))?;
        Ok(Keyring {
            generation: disk.generation,
            authorities: disk
                .authorities
                .iter()
                .map(|a| bytes(a))
                .collect::<Result<_, _>>()?,
            crosses: disk
                .crosses
                .iter()
                .map(|c| bytes(c))
                .collect::<Result<_, _>>()?,
            certificate: bytes(&disk.certificate)?,
            key: bytes(&disk.key)?.into(),
            seal: Seal(seal),
        })
    }

    /// Writes it: complete and durable, or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, data_dir: &Path) -> Result<(), TrustError> {
        let path = Self::path(data_dir);
        let disk = OnDisk {
            format: FORMAT,
            generation: self.generation,
            authorities: self
                .authorities
                .iter()
                .map(|a| STANDARD.encode(a))
                .collect(),
            crosses: self.crosses.iter().map(|c| STANDARD.encode(c)).collect(),
            certificate: STANDARD.encode(&self.certificate),
            key: STANDARD.encode(self.key.as_slice()),
            seal: STANDARD.encode(self.seal.0),
        };
        let wrong = |found: io::Error| TrustError::File {
            file: path.display().to_string(),
            found: found.to_string(),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
        serde_json::to_writer_pretty(&mut *text, &disk).map_err(|e| wrong(io::Error::other(e)))?;
        write_private(&path, &text).map_err(wrong)
    }
}

/// Writes a file that only its owner may read: complete and durable, or not at all.
///
/// # Errors
/// The disk refuses.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "that is no name of a file"))?;
    let new = path.with_file_name(format!(".{}.ha-new", name.to_string_lossy()));
    // One of ours that an earlier try left could have other permissions.
    fs::remove_file(&new).or_else(|e| {
        if e.kind() == io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(e)
        }
    })?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    platform::for_the_owner_only(&mut options);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => platform::sync_directory(parent),
        None => Ok(()),
    }
}
