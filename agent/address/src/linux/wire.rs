//! Netlink messages as bytes: built from nested attributes, read back without trust.
//!
//! Written out by hand because nfnetlink batches must be built by hand anyway, and because the
//! few fields needed here must be readable on every kernel, whatever else it adds.

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = !(3 << 14);

/// One or more netlink messages in a row.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    open: usize,
}

/// Where a nested attribute began.
#[must_use]
pub(super) struct Nest(usize);

impl Messages {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a message; `head` is the fixed part that follows the netlink header.
    pub(super) fn begin(&mut self, kind: u16, flags: u16, sequence: u32, head: &[u8]) {
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(head);
        self.pad();
    }

    /// Ends the message that was begun last.
    pub(super) fn end(&mut self) {
        let length = (self.bytes.len() - self.open) as u32;
        self.bytes[self.open..self.open + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// A string attribute with its final zero.
    pub(super) fn put_str(&mut self, kind: u16, value: &str) {
        let mut with_zero = Vec::with_capacity(value.len() + 1);
        with_zero.extend_from_slice(value.as_bytes());
        with_zero.push(0);
        self.put(kind, &with_zero);
    }

    pub(super) fn nest(&mut self, kind: u16) -> Nest {
        let at = self.bytes.len();
        self.put(kind | NESTED, &[]);
        Nest(at)
    }

    pub(super) fn close(&mut self, nest: Nest) {
        let length = (self.bytes.len() - nest.0) as u16;
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// One message that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// The code of an `NLMSG_ERROR` (0 is an acknowledgement) or `NLMSG_DONE`.
    pub(super) fn code(&self) -> Option<i32> {
        Some(i32::from_ne_bytes(*self.payload.first_chunk()?))
    }
}

/// The messages in a datagram; ends at the first that does not fit.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = bytes.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes in a payload, kind without its flag bits; ends at the first that does not fit.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A string attribute without its final zero.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut built = Messages::default();
        built.begin(20, 5, 7, &[1, 2, 3, 4]);
        built.put_str(1, "table");
        let nest = built.nest(3);
        built.put(4, &[9]);
        built.close(nest);
        built.end();
        let all: Vec<_> = messages(built.bytes()).collect();
        assert_eq!((all.len(), all[0].kind, all[0].sequence), (1, 20, 7));
        let read: Vec<_> = attributes(&all[0].payload[4..]).collect();
        assert_eq!(text(read[0].1), "table");
        assert_eq!(read[1].0, 3);
        assert_eq!(attributes(read[1].1).next(), Some((4, &[9][..])));
    }

    #[test]
    fn torn_messages_end_the_reading() {
        let mut built = Messages::default();
        built.begin(20, 5, 7, &[0; 8]);
        built.put(1, &[1; 40]);
        built.end();
        for cut in 0..built.bytes().len() {
            for message in messages(&built.bytes()[..cut]) {
                let _ = attributes(message.payload).count();
            }
        }
        assert_eq!(messages(&[0; 64]).count(), 0, "a length below the header");
        assert_eq!(attributes(&[1, 0, 0, 0, 5]).count(), 0, "a length below 4");
    }
}
