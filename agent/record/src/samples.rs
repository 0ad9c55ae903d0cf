//! Values of every record, with every variant in them: what golden files are made of, and where fuzzing begins.

mod consensus;
mod model;

use crate::{Record, RecordError, decode, decode_message, encode, encode_message};
use ha_core::version::{CURRENT, RecordVersion};
use std::fmt::Debug;

type Compare = Box<dyn Fn(&[u8]) -> Result<bool, RecordError>>;

/// One value, as bytes and as what they must be read as.
pub struct Sample {
    /// The record that it is one of.
    pub record: &'static str,
    /// Tells it from the others of that record.
    pub name: String,
    /// Whether it goes between peers.
    pub is_message: bool,
    /// As it is written.
    pub bytes: Vec<u8>,
    /// Reads bytes: whether this value comes out.
    pub reads: Compare,
}

/// All of them, at a version.
///
/// # Errors
/// A sample that does not exist at that version.
pub fn all(at: RecordVersion) -> Result<Vec<Sample>, RecordError> {
    let mut samples = Samples {
        at,
        made: Vec::new(),
    };
    consensus::entries(&mut samples)?;
    consensus::messages(&mut samples)?;
    consensus::kept(&mut samples)?;
    Ok(samples.made)
}

/// Samples of a version, as they are made.
struct Samples {
    at: RecordVersion,
    made: Vec<Sample>,
}

impl Samples {
    fn record<T>(&mut self, record: &'static str, name: &str, value: T) -> Result<(), RecordError>
    where
        T: Record + PartialEq + Debug + 'static,
    {
        self.made.push(Sample {
            record,
            name: name.to_owned(),
            is_message: false,
            bytes: encode(self.at, &value)?,
            reads: Box::new(move |bytes| Ok(decode::<T>(CURRENT, bytes)? == value)),
        });
        Ok(())
    }

    fn message<T>(&mut self, record: &'static str, name: &str, value: T) -> Result<(), RecordError>
    where
        T: Record + PartialEq + Debug + 'static,
    {
        let speaks = ha_core::version::Speaks {
            min: RecordVersion(1),
            max: self.at,
        };
        self.made.push(Sample {
            record,
            name: name.to_owned(),
            is_message: true,
            bytes: encode_message(self.at, speaks, &value)?,
            reads: Box::new(move |bytes| Ok(decode_message::<T>(CURRENT, bytes)? == value)),
        });
        Ok(())
    }
}
