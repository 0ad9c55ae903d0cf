//! How much a cluster's file may hold, looked at before work is done on it.

use super::Checker;
use super::raw::RawCluster;
use ha_core::model::PortRange;
use std::collections::BTreeMap;

/// Bytes of a cluster's file.
pub const FILE_MAX: usize = 1 << 20;
/// Signs (`=`, `,`, `[`, `{`, `.`) that make a reader work: the largest file that the counts below allow has half as
/// many. They are counted wherever they stand, comments and texts included, so no text hides them.
const SIGNS_MAX: usize = 100_000;
/// As many as the kernel's side takes.
const VIRTUAL_IPS_MAX: usize = 256;
const FRONTENDS_MAX: usize = 1024;
const BACKENDS_MAX: usize = 1024;
/// In all backends: each is checked from every node.
const SERVERS_MAX: usize = 4096;
/// Ports and ranges in all frontends.
const LISTENERS_MAX: usize = 4096;

impl Checker<'_> {
    /// Whether the text is worth being read.
    pub(super) fn fits(&mut self) -> bool {
        let (size, most) = (self.text.len(), FILE_MAX);
        if size > most {
            let remedy =
                format!("use at most {most}: it is kept, with its last versions, on every node");
            self.whole(format!("{size} bytes"), remedy);
            return false;
        }
        let signs = self.text.bytes().filter(|b| b"=,[{.".contains(b)).count();
        if signs > SIGNS_MAX {
            self.whole(
                format!("{signs} values, tables and keys (each of = , [ {{ . counts)"),
                format!(
                    "use at most {SIGNS_MAX}; write ports in a row as a range, e.g. \"5014-5019\""
                ),
            );
        }
        signs <= SIGNS_MAX
    }

    /// Whether there are not too many of anything.
    pub(super) fn counts_fit(&mut self, raw: &RawCluster) -> bool {
        let listeners = raw.frontend.iter().map(|f| f.listeners.get_ref().len());
        let counted = [
            ("virtual_ip", raw.virtual_ip.len(), VIRTUAL_IPS_MAX),
            ("frontend", raw.frontend.len(), FRONTENDS_MAX),
            ("frontend.listeners", listeners.sum(), LISTENERS_MAX),
            ("backend", raw.backend.len(), BACKENDS_MAX),
            (
                "backend.server",
                raw.backend.iter().map(|b| b.server.len()).sum(),
                SERVERS_MAX,
            ),
        ];
        let mut fit = true;
        for (key, found, most) in counted.into_iter().filter(|(_, n, most)| n > most) {
            self.problem(
                0,
                key,
                format!("{found} in all"),
                format!("use at most {most}"),
            );
            fit = false;
        }
        fit
    }
}

/// Ports that have an owner; no two ranges in it overlap.
pub(super) struct Ports<T>(BTreeMap<u16, (PortRange, T)>);

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Ports(BTreeMap::new())
    }
}

impl<T: Copy> Ports<T> {
    /// Notes a range, or says which one has some of it already.
    pub(super) fn take(&mut self, range: PortRange, owner: T) -> Result<(), (PortRange, T)> {
        match self.0.range(..=range.last).next_back() {
            Some((_, (taken, has))) if taken.overlaps(range) => Err((*taken, *has)),
            _ => {
                self.0.insert(range.first, (range, owner));
                Ok(())
            }
        }
    }
}
