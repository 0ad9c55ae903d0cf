//! `[backend.check]`: which kind of check, and when it is made.

use super::Checker;
use super::raw::RawBackend;
use super::units::Span;
use ha_core::check::{CheckClose, Kind};
use ha_core::model::Check;
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// HAProxy's `inter` when nothing is said.
const INTER: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCheck {
    pub tcp: Option<Spanned<u16>>,
    pub always: Option<Spanned<String>>,
    #[serde(alias = "interval", alias = "probe_interval")]
    pub inter: Option<Spanned<Span>>,
    pub fastinter: Option<Spanned<Span>>,
    #[serde(alias = "pass_detect_interval", alias = "passdetect_interval")]
    pub downinter: Option<Spanned<Span>>,
    #[serde(alias = "receive")]
    pub timeout: Option<Spanned<Span>>,
    #[serde(alias = "pass_detect_count", alias = "passdetect_count")]
    pub rise: Option<Spanned<u16>>,
    #[serde(alias = "fail_detect_count", alias = "faildetect")]
    pub fall: Option<Spanned<u16>>,
    pub close: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn check(&mut self, spanned: &Spanned<RawCheck>, b: &RawBackend) -> Check {
        let raw = spanned.get_ref();
        let inter = self.positive("backend.check.inter", raw.inter.as_ref(), INTER);
        Check {
            kind: self.kind(spanned, b),
            inter,
            fastinter: self.positive("backend.check.fastinter", raw.fastinter.as_ref(), inter),
            downinter: self.positive("backend.check.downinter", raw.downinter.as_ref(), inter),
            timeout: self.positive("backend.check.timeout", raw.timeout.as_ref(), inter),
            rise: self.count("backend.check.rise", raw.rise.as_ref(), 2),
            fall: self.count("backend.check.fall", raw.fall.as_ref(), 3),
        }
    }

    fn kind(&mut self, spanned: &Spanned<RawCheck>, b: &RawBackend) -> Kind {
        let raw = spanned.get_ref();
        let Some(always) = &raw.always else {
            return self.tcp(spanned, b);
        };
        if raw.tcp.is_some() || raw.close.is_some() {
            self.problem(
                always.span().start,
                "backend.check.always",
                "a second kind of check beside it",
                "use one of: always, tcp (with close)",
            );
        }
        let words = [("up", true), ("down", false)];
        Kind::Always {
            up: self.choice("backend.check.always", Some(always), &words, true),
        }
    }

    fn tcp(&mut self, spanned: &Spanned<RawCheck>, b: &RawBackend) -> Kind {
        let raw = spanned.get_ref();
        let port = raw.tcp.as_ref().map(|p| *p.get_ref());
        if port == Some(0) {
            self.problem(
                spanned.span().start,
                "backend.check.tcp",
                0,
                "use a port, 1 to 65535",
            );
        }
        if port.is_none()
            && let Some(s) = b.server.iter().find(|s| s.port.is_none())
        {
            self.problem(
                spanned.span().start,
                "backend.check",
                format!(
                    "no port to check, and server {} has none either",
                    s.name.get_ref()
                ),
                "add `tcp = PORT` to the check",
            );
        }
        let close = self.choice(
            "backend.check.close",
            raw.close.as_ref(),
            &[("rst", CheckClose::Rst), ("fin", CheckClose::Fin)],
            CheckClose::Rst,
        );
        Kind::Tcp { port, close }
    }
}
