//! How much of the log was durable: what a damaged log is found out by.

use crate::sys::platform::files::open_plain;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// What was durable at some time.
#[derive(Clone, Copy, Default)]
pub(super) struct Sure {
    /// One past the last entry.
    pub(super) end: u64,
    /// How many batches were written, of whatever.
    pub(super) writes: u64,
}

/// [`Sure`] in a file of 20 bytes with a checksum.
pub(super) struct Mark {
    file: File,
    pub(super) sure: Sure,
    /// The write that last took entries away: an end that was read before it is no longer asked for.
    lowered_at: u64,
}

impl Mark {
    pub(super) fn open(dir: &Path) -> io::Result<Mark> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = open_plain(&mut options, &dir.join("mark"))?;
        let mut bytes = Vec::new();
        // Of a file of 20 bytes; whatever is larger is none.
        (&mut file).take(64).read_to_end(&mut bytes)?;
        let sure = Mark::read(&bytes).unwrap_or_else(|| {
            // Torn by a crash of the machine while it was written: it asks for nothing.
            if !bytes.is_empty() {
                tracing::warn!(
                    "the mark of the log is unreadable; what the log holds is taken as it is"
                );
            }
            Sure::default()
        });
        Ok(Mark {
            file,
            sure,
            lowered_at: 0,
        })
    }

    fn read(bytes: &[u8]) -> Option<Sure> {
        let (numbers, crc) = bytes.split_at_checked(16)?;
        let (end, writes) = numbers.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        (crc == crc32fast::hash(numbers).to_be_bytes()).then_some(Sure {
            end: number(end)?,
            writes: number(writes)?,
        })
    }

    pub(super) fn raise(&mut self, to: Sure) -> io::Result<()> {
        let end = if to.writes < self.lowered_at {
            0
        } else {
            to.end
        };
        self.write(Sure {
            end: end.max(self.sure.end),
            writes: to.writes.max(self.sure.writes),
        })
    }

    /// Before entries are taken away: durably, so that a crash in between asks for less and not for more.
    pub(super) fn lower(&mut self, end: u64, at: u64) -> io::Result<()> {
        self.lowered_at = at;
        if end < self.sure.end {
            self.write(Sure { end, ..self.sure })?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&mut self, sure: Sure) -> io::Result<()> {
        let bytes = [sure.end.to_be_bytes(), sure.writes.to_be_bytes()].concat();
        self.file.seek(io::SeekFrom::Start(0))?;
        self.file
            .write_all(&[bytes.as_slice(), &crc32fast::hash(&bytes).to_be_bytes()].concat())?;
        self.sure = sure;
        Ok(())
    }
}
