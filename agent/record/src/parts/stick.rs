//! Who is bound to which server.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::{Form, read_text, write_text};
use ha_core::id::ServerId;
use ha_core::stick::{StickEntry, StickIndex, StickKey};
use ha_core::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

structs! {
    StickKey { group: Arc<str>, client: IpAddr }
    StickEntry {
        server: ServerId,
        host: IpAddr,
        bound_at: Timestamp,
        used_at: Timestamp,
        expire: Duration,
    }
}

/// All bindings, in the order in which every node has them. A hundred thousand of them name few groups: those that
/// follow each other share one text.
impl Form for StickIndex {
    fn write(&self, out: &mut Out) {
        out.number(self.table().len() as u64);
        for (StickKey { group, client }, entry) in self.table().iter() {
            write_text(group, out);
            client.write(out);
            entry.write(out);
        }
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let many = from.length()?;
        // What is hostile says many and has few.
        let mut entries = Vec::with_capacity(many.min(1024));
        let mut last: Arc<str> = Arc::default();
        for _ in 0..many {
            let group = read_text(from)?;
            if *last != *group {
                last = Arc::from(group);
            }
            let key = StickKey {
                group: last.clone(),
                client: IpAddr::read(from)?,
            };
            entries.push((key, StickEntry::read(from)?));
        }
        Ok(entries.into_iter().collect())
    }
}
