//! `[backend.persistence]`: whether and how a client comes back to its server.

use super::Checker;
use super::agent_file::is_name;
use super::cluster_file::NAME_REMEDY;
use super::raw::RawPersistence;
use ha_core::model::{BindingMode, Persistence};
use std::time::Duration;
use toml::Spanned;

const EXPIRE: Duration = Duration::from_secs(30 * 60);

impl Checker<'_> {
    pub(super) fn persistence(&mut self, raw: &RawPersistence, backend: &str) -> Persistence {
        self.choice(
            "backend.persistence.by",
            raw.by.as_ref(),
            &[("client-ip", ())],
            (),
        );
        let (mask, mask6) = (raw.mask.as_ref(), raw.mask6.as_ref());
        let mask_v4 = self.leading_bits("backend.persistence.mask", mask, 32, 32);
        let mask_v6 = self.leading_bits("backend.persistence.mask6", mask6, 128, 128);
        let group = raw
            .group
            .as_ref()
            .map_or_else(|| backend.to_owned(), |g| g.get_ref().clone());
        if let Some(g) = raw.group.as_ref().filter(|g| !is_name(g.get_ref())) {
            self.problem(
                g.span().start,
                "backend.persistence.group",
                format!("{:?}", g.get_ref()),
                NAME_REMEDY,
            );
        }
        Persistence {
            expire: raw.expire.as_ref().map_or(EXPIRE, |e| {
                let (at, expire) = (e.span().start, e.get_ref().0);
                self.above_zero(at, "backend.persistence.expire", expire);
                expire
            }),
            group,
            mask_v4,
            mask_v6,
            mode: self.choice(
                "backend.persistence.mode",
                raw.mode.as_ref(),
                &[
                    ("commit", BindingMode::Commit),
                    ("async", BindingMode::Async),
                ],
                BindingMode::Commit,
            ),
        }
    }

    /// How many leading bits of an address count: at most `max`, and `usual` when the file does not say.
    pub(super) fn leading_bits(
        &mut self,
        key: &str,
        found: Option<&Spanned<u8>>,
        max: u8,
        usual: u8,
    ) -> u8 {
        let Some(bits) = found else { return usual };
        if *bits.get_ref() > max {
            let remedy = format!("use 0 to {max} leading bits");
            self.problem(bits.span().start, key, bits.get_ref(), remedy);
        }
        *bits.get_ref()
    }
}
