//! How each part of a record is written and read: [`Form`], for plain values and containers here, and for structs and
//! enums by description.
//!
//! A description names every field of the model with its type, and every variant with its number, in the order in
//! which they are written. What was described once stays: later versions append fields and variants, each with the
//! version from which on it exists in brackets. A field of the model that is missing in its description, or that has
//! another type there, does not compile.
//!
//! ```text
//!   structs! { Server { name: String, weight: u16, [2] zone: String } }     absent at version 1: its default
//!   enums! { Change { 0 => Up, 1 => Moved(to: NodeId), [2] 2 => Split { at: u32 } } }
//! ```

use crate::RecordError;
use crate::bytes::{In, Out};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One way to be written, in every version.
pub trait Form: Sized {
    /// Appends it, at the version of `out`.
    fn write(&self, out: &mut Out);

    /// Takes it from the front, at the version of `from`.
    ///
    /// # Errors
    /// Bytes that are not one of these.
    fn read(from: &mut In<'_>) -> Result<Self, RecordError>;

    /// Appends many, without their number.
    fn write_many(items: &[Self], out: &mut Out) {
        items.iter().for_each(|item| item.write(out));
    }

    /// Takes so many.
    ///
    /// # Errors
    /// As for one.
    fn read_many(from: &mut In<'_>, many: usize) -> Result<Vec<Self>, RecordError> {
        // What is hostile says many and has few.
        let mut items = Vec::with_capacity(many.min(1024));
        for _ in 0..many {
            items.push(Self::read(from)?);
        }
        Ok(items)
    }
}

macro_rules! write_field {
    ($out:ident, $field:ident, $ty:ty) => {
        <$ty as Form>::write($field, $out)
    };
    ($out:ident, $field:ident, $ty:ty, $since:literal) => {
        if $out.version().0 >= $since {
            <$ty as Form>::write($field, $out)
        } else if *$field != <$ty>::default() {
            $out.needs($since, stringify!($field))
        }
    };
}

macro_rules! read_field {
    ($from:ident, $ty:ty) => {
        <$ty as Form>::read($from)?
    };
    ($from:ident, $ty:ty, $since:literal) => {
        if $from.version().0 >= $since {
            <$ty as Form>::read($from)?
        } else {
            <$ty>::default()
        }
    };
}

macro_rules! structs {
    ($($name:ident { $($(#[$attr:meta])* $([$since:literal])? $field:ident : $ty:ty),* $(,)? })*) => {$(
        impl Form for $name {
            fn write(&self, out: &mut Out) {
                let $name { $($(#[$attr])* $field),* } = self;
                $($(#[$attr])* { write_field!(out, $field, $ty $(, $since)?); })*
            }
            fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
                $($(#[$attr])* let $field = read_field!(from, $ty $(, $since)?);)*
                Ok($name { $($(#[$attr])* $field),* })
            }
        }
    )*};
}

macro_rules! enums {
    ($($name:ident { $(
        $(#[$attr:meta])* $([$since:literal])? $number:literal => $variant:ident
            $({ $($field:ident : $ty:ty),* $(,)? })? $(( $($part:ident : $pty:ty),* ))?
    ),* $(,)? })*) => {$(
        impl Form for $name {
            fn write(&self, out: &mut Out) {
                match self {
                    $($(#[$attr])* $name::$variant $({ $($field),* })? $(( $($part),* ))? => {
                        $(out.needs($since, stringify!($variant));)?
                        out.number($number);
                        $($( write_field!(out, $field, $ty); )*)?
                        $($( write_field!(out, $part, $pty); )*)?
                    })*
                }
            }
            fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
                match from.number()? {
                    $($(#[$attr])* $number => {
                        $(from.needs($since)?;)?
                        $($( let $field = read_field!(from, $ty); )*)?
                        $($( let $part = read_field!(from, $pty); )*)?
                        Ok($name::$variant $({ $($field),* })? $(( $($part),* ))?)
                    })*
                    _ => Err(RecordError::Malformed(concat!("no ", stringify!($name), " of that number"))),
                }
            }
        }
    )*};
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Form for $ty {
            #[inline]
            fn write(&self, out: &mut Out) {
                out.number(u64::from(*self));
            }
            #[inline]
            fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
                <$ty>::try_from(from.number()?).map_err(|_| RecordError::Malformed("a number that is too large"))
            }
        }
    )*};
}

numbers!(u16, u32, u64);

impl Form for u8 {
    fn write(&self, out: &mut Out) {
        out.byte(*self);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        from.byte()
    }
    fn write_many(items: &[Self], out: &mut Out) {
        out.raw(items);
    }
    fn read_many(from: &mut In<'_>, many: usize) -> Result<Vec<Self>, RecordError> {
        from.raw(many).map(<[u8]>::to_vec)
    }
}

impl Form for bool {
    fn write(&self, out: &mut Out) {
        out.byte(u8::from(*self));
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Malformed("neither yes nor no")),
        }
    }
}

impl<const N: usize> Form for [u8; N] {
    fn write(&self, out: &mut Out) {
        out.raw(self);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        from.array()
    }
}

/// Takes a text without copying it.
pub fn read_text<'a>(from: &mut In<'a>) -> Result<&'a str, RecordError> {
    let length = from.length()?;
    std::str::from_utf8(from.raw(length)?)
        .map_err(|_| RecordError::Malformed("a text that is not UTF-8"))
}

/// Appends its length in bytes and its bytes.
pub fn write_text(text: &str, out: &mut Out) {
    out.number(text.len() as u64);
    out.raw(text.as_bytes());
}

impl Form for String {
    fn write(&self, out: &mut Out) {
        write_text(self, out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        read_text(from).map(str::to_owned)
    }
}

impl Form for Arc<str> {
    fn write(&self, out: &mut Out) {
        write_text(self, out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        read_text(from).map(Arc::from)
    }
}

impl<T: Form> Form for Arc<T> {
    fn write(&self, out: &mut Out) {
        T::write(self, out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        T::read(from).map(Arc::new)
    }
}

impl<T: Form> Form for Box<T> {
    fn write(&self, out: &mut Out) {
        T::write(self, out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        T::read(from).map(Box::new)
    }
}

impl<T: Form> Form for Option<T> {
    fn write(&self, out: &mut Out) {
        out.byte(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        bool::read(from)?.then(|| T::read(from)).transpose()
    }
}

impl<T: Form> Form for Vec<T> {
    fn write(&self, out: &mut Out) {
        out.number(self.len() as u64);
        T::write_many(self, out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let many = from.length()?;
        T::read_many(from, many)
    }
}

impl<T: Form> Form for VecDeque<T> {
    fn write(&self, out: &mut Out) {
        out.number(self.len() as u64);
        self.iter().for_each(|item| item.write(out));
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Vec::read(from).map(VecDeque::from)
    }
}

impl<T: Form + Ord> Form for BTreeSet<T> {
    fn write(&self, out: &mut Out) {
        out.number(self.len() as u64);
        self.iter().for_each(|item| item.write(out));
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Vec::read(from).map(BTreeSet::from_iter)
    }
}

impl<K: Form + Ord, V: Form> Form for BTreeMap<K, V> {
    fn write(&self, out: &mut Out) {
        out.number(self.len() as u64);
        for (key, value) in self {
            key.write(out);
            value.write(out);
        }
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Vec::<(K, V)>::read(from).map(BTreeMap::from_iter)
    }
}

impl<A: Form, B: Form> Form for (A, B) {
    fn write(&self, out: &mut Out) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}
