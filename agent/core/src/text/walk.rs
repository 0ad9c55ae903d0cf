//! Finds every text in a value, whatever its type: a field that is added tomorrow is looked at too.
//!
//! The value is serialised into nothing; what comes by as a string is judged.

use super::{is_control, objection};
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt;

/// A text that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The path of the field, as in the file.
    pub field: String,
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found a text that {}", self.field, self.why)
    }
}

impl std::error::Error for Refused {}

impl serde::ser::Error for Refused {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Refused {
            field: "value".to_owned(),
            why: why.to_string(),
        }
    }
}

/// Whether every text in a value is one line without control characters. A field called `text` of something called
/// `ApplyRequest` or `Configure` is a file, which has lines and tabs.
///
/// # Errors
/// The first that is not.
pub fn all_plain(value: &impl Serialize) -> Result<(), Refused> {
    value.serialize(Walk {
        within: "",
        field: "text",
    })
}

/// What has files in a field `text`.
const FILES: [&str; 2] = ["ApplyRequest", "Configure"];

#[derive(Clone, Copy)]
struct Walk {
    within: &'static str,
    field: &'static str,
}

impl Walk {
    fn judge(self, text: &str) -> Result<(), Refused> {
        let why = if self.field == "text" && FILES.contains(&self.within) {
            let wrong = |c: &char| is_control(*c) && !matches!(c, '\n' | '\r' | '\t');
            let found = text.chars().find(wrong);
            found.map(|c| format!("has the control character U+{:04X}", u32::from(c)))
        } else {
            objection(text)
        };
        why.map_or(Ok(()), |why| {
            Err(Refused {
                field: self.field.to_owned(),
                why,
            })
        })
    }
}

macro_rules! nothing {
    ($($method:ident: $type:ty),* $(,)?) => { $(
        fn $method(self, _: $type) -> Result<(), Refused> {
            Ok(())
        }
    )* };
}

impl Serializer for Walk {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Walk;
    type SerializeTuple = Walk;
    type SerializeTupleStruct = Walk;
    type SerializeTupleVariant = Walk;
    type SerializeMap = Walk;
    type SerializeStruct = Walk;
    type SerializeStructVariant = Walk;

    nothing!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    );
    fn serialize_char(self, c: char) -> Result<(), Refused> {
        self.judge(c.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.judge(text)
    }
    fn serialize_none(self) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Walk, Refused> {
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Result<Walk, Refused> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Walk, Refused> {
        Ok(self)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Walk, Refused> {
        Ok(self)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Walk, Refused> {
        Ok(self)
    }
    fn serialize_struct(self, within: &'static str, _: usize) -> Result<Walk, Refused> {
        Ok(Walk { within, ..self })
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        within: &'static str,
        _: usize,
    ) -> Result<Walk, Refused> {
        Ok(Walk { within, ..self })
    }
    fn collect_str<T: ?Sized + fmt::Display>(self, value: &T) -> Result<(), Refused> {
        self.judge(&value.to_string())
    }
}

macro_rules! elements {
    ($($part:ident $method:ident),*) => { $(
        impl $part for Walk {
            type Ok = ();
            type Error = Refused;
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Refused> {
                value.serialize(*self)
            }
            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )* };
}
elements!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! fields {
    ($($part:ident),*) => { $(
        impl $part for Walk {
            type Ok = ();
            type Error = Refused;
            fn serialize_field<T: ?Sized + Serialize>(&mut self, field: &'static str, value: &T) -> Result<(), Refused> {
                value.serialize(Walk { field, ..*self })
            }
            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )* };
}
fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Walk {
    type Ok = ();
    type Error = Refused;
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Refused> {
        key.serialize(*self)
    }
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(*self)
    }
    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}
