//! The bytes under every record: numbers as bincode has them (one byte up to 250), lengths before what has one.

use crate::RecordError;
use bincode::config::{Configuration, standard};
use bincode::error::DecodeError;
use ha_core::version::{RecordVersion, Speaks};

/// Little-endian, numbers in as few bytes as they need.
const LAYOUT: Configuration = standard();

/// What is being written, and at which version.
pub struct Out {
    bytes: Vec<u8>,
    version: RecordVersion,
    refused: Option<RecordError>,
}

impl Out {
    pub(crate) fn at(version: RecordVersion) -> Out {
        Out {
            bytes: Vec::with_capacity(128),
            version,
            refused: None,
        }
    }

    /// # Errors
    /// Something that does not exist at the version that was written.
    pub(crate) fn done(self) -> Result<Vec<u8>, RecordError> {
        self.refused.map_or(Ok(self.bytes), Err)
    }

    /// The version that is written at.
    pub const fn version(&self) -> RecordVersion {
        self.version
    }

    /// What `write` adds is written at another version.
    pub(crate) fn within(&mut self, version: RecordVersion, write: impl FnOnce(&mut Out)) {
        let before = std::mem::replace(&mut self.version, version);
        write(self);
        self.version = before;
    }

    /// Notes that `what` exists from version `since` on only.
    #[allow(dead_code, reason = "all of the first version is there from it on")]
    pub(crate) fn needs(&mut self, since: u32, what: &'static str) {
        let needs = RecordVersion(since);
        if self.version < needs && self.refused.is_none() {
            self.refused = Some(RecordError::NotYet {
                what,
                needs,
                at: self.version,
            });
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn number(&mut self, number: u64) {
        // Writing to memory cannot fail.
        bincode::encode_into_std_write(number, &mut self.bytes, LAYOUT).ok();
    }
}

/// What is being read, at which version it was written, and what this program reads at all.
pub struct In<'a> {
    rest: &'a [u8],
    version: RecordVersion,
    speaks: Speaks,
}

impl<'a> In<'a> {
    pub(crate) const fn of(bytes: &'a [u8], speaks: Speaks) -> In<'a> {
        In {
            rest: bytes,
            version: RecordVersion(0),
            speaks,
        }
    }

    /// The version of what is read.
    pub const fn version(&self) -> RecordVersion {
        self.version
    }

    /// Reads the version of what follows.
    ///
    /// # Errors
    /// A version that this program does not read. It reads those before the oldest that it speaks, too.
    pub(crate) fn begin(&mut self) -> Result<RecordVersion, RecordError> {
        let found = RecordVersion(u32::try_from(self.number()?).unwrap_or(u32::MAX));
        if found > self.speaks.max {
            return Err(RecordError::Newer {
                found,
                speaks: self.speaks,
            });
        }
        if found == RecordVersion(0) {
            return Err(RecordError::Malformed("there is no version 0"));
        }
        self.version = found;
        Ok(found)
    }

    /// What `read` takes has a version of its own before it.
    pub(crate) fn within<T>(
        &mut self,
        read: impl FnOnce(&mut In<'a>, RecordVersion) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let before = self.version;
        let version = self.begin()?;
        let read = read(self, version);
        self.version = before;
        read
    }

    /// # Errors
    /// Bytes that belong to nothing.
    pub(crate) const fn end(&self) -> Result<(), RecordError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Malformed("bytes are left over"))
        }
    }

    /// Something that exists from version `since` on only.
    #[allow(dead_code, reason = "all of the first version is there from it on")]
    pub(crate) fn needs(&self, since: u32) -> Result<(), RecordError> {
        if self.version.0 < since {
            Err(RecordError::Malformed("of a later version than it says"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, RecordError> {
        let (first, rest) = self.rest.split_first().ok_or(RecordError::CUT)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(RecordError::CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RecordError::CUT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number, in its shortest form only.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, RecordError> {
        let (number, used): (u64, usize) =
            bincode::decode_from_slice(self.rest, LAYOUT).map_err(|e| match e {
                DecodeError::UnexpectedEnd { .. } => RecordError::CUT,
                _ => RecordError::Malformed("a number of more than 64 bits"),
            })?;
        if used != length_of(number) {
            return Err(RecordError::Malformed("a number in a longer form"));
        }
        self.rest = &self.rest[used..];
        Ok(number)
    }

    /// A length, which is never more than the bytes that are left.
    pub(crate) fn length(&mut self) -> Result<usize, RecordError> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > self.rest.len() {
            return Err(RecordError::CUT);
        }
        Ok(length)
    }
}

/// Bytes of a number.
const fn length_of(number: u64) -> usize {
    match number {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
