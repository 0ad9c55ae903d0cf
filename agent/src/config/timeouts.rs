//! How long silence may last, in frontends and backends.

use super::Checker;
use super::units::Span;
use ha_core::model::{FIN_TIMEOUT, IDLE_TIMEOUT, KEEPALIVE};
use std::time::Duration;
use toml::Spanned;

/// What the kernel takes.
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_secs(9 * 3600);

/// `client_timeout` and `server_timeout`; zero: none.
pub(super) fn idle(found: Option<Span>) -> Duration {
    found.map_or(IDLE_TIMEOUT, |s| s.0)
}

/// `client_fin_timeout` and `server_fin_timeout`; zero: as those.
pub(super) fn half_closed(found: Option<Span>) -> Duration {
    found.map_or(FIN_TIMEOUT, |s| s.0)
}

impl Checker<'_> {
    pub(super) fn keepalive(&mut self, key: &str, found: Option<&Spanned<Span>>) -> Duration {
        let Some(spanned) = found else {
            return KEEPALIVE;
        };
        let every = spanned.get_ref().0;
        if !every.is_zero() && !(KEEPALIVE_MIN..=KEEPALIVE_MAX).contains(&every) {
            self.problem(
                spanned.span().start,
                key,
                format!("{every:?}"),
                "use 1s to 9h, or 0 to ask nobody",
            );
        }
        every
    }
}
