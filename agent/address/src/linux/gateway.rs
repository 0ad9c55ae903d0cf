//! Whether a gateway is reached: asked every second where it must be, on the segment of the virtual IP.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::examine;
use crate::types::{Vip, VipSettings};

const EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// A lost frame or a busy router is no reason to move.
const MISSES: u32 = 3;
const ANSWERS: u32 = 2;

/// Counts the answers of a gateway, without asking it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    is_lost: bool,
    /// In a row, against what is believed.
    surprises: u32,
}

impl Reach {
    /// Whether what is believed has changed.
    fn heard(&mut self, has_answered: bool) -> bool {
        if has_answered != self.is_lost {
            self.surprises = 0;
            return false;
        }
        self.surprises += 1;
        let enough = if self.is_lost { ANSWERS } else { MISSES };
        let changes = self.surprises >= enough;
        if changes {
            *self = Reach {
                is_lost: !self.is_lost,
                surprises: 0,
            };
        }
        changes
    }
}

/// What was found out last, for as long as somebody wants to know.
#[derive(Default)]
pub(super) struct Gateway(Mutex<Option<String>>);

impl Gateway {
    /// Asks in a thread of its own until the result is dropped; asks nobody where there is nobody to ask.
    pub(super) fn watch(settings: &VipSettings) -> std::io::Result<Arc<Gateway>> {
        let gateway = Arc::<Gateway>::default();
        if !settings.gateways.is_empty() {
            let (settings, found) = (settings.clone(), Arc::downgrade(&gateway));
            std::thread::Builder::new()
                .name("ha-gateway".to_owned())
                .spawn(move || run(&settings, &found))?;
        }
        Ok(gateway)
    }

    /// Why this node is cut off from its clients, if it is.
    pub(super) fn obstacle(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn run(settings: &VipSettings, found: &Weak<Gateway>) {
    let names: Vec<String> = settings.gateways.iter().map(ToString::to_string).collect();
    let vips: Vec<Vip> = settings
        .gateways
        .iter()
        .map(|address| Vip {
            name: "gateway".to_owned(),
            address: *address,
            interface: None,
        })
        .collect();
    let mut reach = Reach::default();
    while let Some(gateway) = found.upgrade() {
        let answered =
            examine::claimed(settings, &vips, ANSWER_WITHIN).is_ok_and(|a| !a.is_empty());
        if reach.heard(answered) {
            tracing::info!(gateways = ?names, reached = answered, "gateway");
            let words = format!(
                "no gateway answers ({}, `gateway` in agent.toml)",
                names.join(", ")
            );
            *gateway.0.lock().unwrap_or_else(PoisonError::into_inner) =
                reach.is_lost.then_some(words);
        }
        drop(gateway);
        std::thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_in_a_row_lose_it_and_two_answers_find_it() {
        let mut reach = Reach::default();
        let rows = [
            (true, false),
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (true, true),
            (false, true),
            (true, true),
            (true, false),
        ];
        for (at, (answered, lost)) in rows.into_iter().enumerate() {
            reach.heard(answered);
            assert_eq!(reach.is_lost, lost, "after look {at}");
        }
    }
}
