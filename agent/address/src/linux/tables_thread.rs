//! `ha-tables`: which address goes where, and the nftables tables that follow from it.
//!
//! Level-triggered: once a second, and when the fence misses its table, the tables are compared
//! with what was written, and written again. The order of every change keeps two promises:
//! an address is never there without its rules, and a held address never has rules without its
//! lease element:
//!
//! ```text
//!  tables, rules -> lease elements (ha-fence) -> elements -> addresses (ha-address)
//!  and backwards for what is no longer wanted
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::addresses;
use super::clock::boot_now;
use super::contents::{self, Contents};
use super::elements::{self, NFPROTO_NETDEV};
use super::links;
use super::netlink::Netlink;
use super::nft::{self, Nft, Part};
use super::own::Machine;
use super::place::{Plan, place, without_ipv6};
use super::ruleset::{self, FENCE, Features, INTERCEPT, Targets};
use super::shared::Shared;
use crate::types::{Intercept, Vip, VipError, VipEvent};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the other threads are waited for; they need about 1 ms.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the caller configured last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) vips: Vec<Vip>,
    pub(super) intercepts: Vec<Intercept>,
}

/// A configuration and who waits for it.
pub(super) struct Request {
    pub(super) wanted: Wanted,
    pub(super) reply: SyncSender<Result<(), VipError>>,
}

/// What is wanted of this thread.
#[derive(Default)]
pub(super) struct TableOrders {
    pub(super) requests: VecDeque<Request>,
    pub(super) check: bool,
    /// Deletes the tables within this time and ends.
    pub(super) stop: Option<Duration>,
}

/// Runs until it is told to delete the tables.
pub(super) fn run(shared: &Arc<Shared>, netfilter: Netlink, route: Netlink, features: Features) {
    let mut tables = Tables {
        shared: shared.clone(),
        nft: Nft::new(&shared.settings.nft),
        netfilter,
        route,
        features,
        wanted: Wanted::default(),
        written: Written::default(),
    };
    loop {
        if let Some(within) = shared.tables.change(|o| o.stop) {
            delete_all(&tables.nft, within);
            return;
        }
        let request = shared.tables.wait(LOOK_EVERY, |o| {
            if let Some(request) = o.requests.pop_front() {
                return Some(Some(request));
            }
            (std::mem::take(&mut o.check) || o.stop.is_some()).then_some(None)
        });
        match request.flatten() {
            // Nothing is put up again while it is being taken down.
            _ if shared.is_stopping() => {}
            Some(request) => {
                tables.wanted = request.wanted;
                // Nobody listens when the caller's patience was over.
                let _ = request.reply.try_send(tables.settle());
            }
            None => {
                if let Err(error) = tables.settle() {
                    shared.fail(error.to_string());
                }
            }
        }
    }
}

/// What was written last, and what the kernel made of it.
#[derive(Default)]
struct Written {
    fence: String,
    /// What the interception table was written for; `None` before it was needed.
    intercept: Option<Targets>,
    parts: Vec<Part>,
    contents: Contents,
    /// Somebody else changed the tables, and they are not written again yet.
    is_damaged: bool,
    /// Somebody else changed what is in the sets; told once they are filled again.
    is_emptied: bool,
}

struct Tables {
    shared: Arc<Shared>,
    nft: Nft,
    netfilter: Netlink,
    route: Netlink,
    features: Features,
    wanted: Wanted,
    written: Written,
}

impl Tables {
    /// Brings the kernel to what is wanted. Cheap when it is there already.
    fn settle(&mut self) -> Result<(), VipError> {
        let links = links::list(&mut self.route).map_err(VipError::kernel("list interfaces"))?;
        let have = addresses::list(&mut self.route).map_err(VipError::kernel("list addresses"))?;
        let old = self.shared.plan();
        let machine = Machine::look(self.shared.settings.node_address, &mut self.route);
        let (plan, mut errors) = place(
            &self.shared.settings,
            &self.wanted.vips,
            &links,
            &have,
            &machine,
            &old.addresses(),
        );
        let staying = old.common(&plan);
        if staying.placed.len() < old.placed.len() {
            self.move_to(&staying);
        }
        let lost = self.look_for_losses();
        // The fence whole, before anything else can fail: its rules drop nothing while its sets are empty.
        if self.shared.fence.nftables() {
            self.write_fence(&plan, lost)?;
            self.fill(&plan, contents::of_fence(&plan, self.features))?;
        }
        self.write_intercept(lost)?;
        if self.written.intercept.is_some() {
            self.fill(&plan, contents::of_intercepts(&self.wanted.intercepts))?;
        }
        if lost || std::mem::take(&mut self.written.is_emptied) {
            self.written.is_damaged = false;
            let what = "nftables tables".to_owned();
            self.shared.tell(VipEvent::Mended { what });
        }
        if plan != *self.shared.plan() {
            self.move_to(&plan);
        }
        errors.extend(without_ipv6(&plan));
        errors.drain(..).next().map_or(Ok(()), Err)
    }

    /// Lets the fence and then the address thread take over the plan.
    fn move_to(&self, plan: &Plan) {
        self.fence_follows(plan);
        self.shared.set_plan(plan.clone());
        let asked = self.shared.address.change(|o| {
            o.asked += 1;
            o.asked
        });
        self.shared
            .address
            .wait(PATIENCE, |o| (o.done >= asked).then_some(()));
        super::watch_thread::judge_carrier(&self.shared, &plan.interfaces());
    }

    fn fence_follows(&self, plan: &Plan) {
        let members = plan.addresses();
        let asked = self.shared.lease.change(|o| {
            o.members = members;
            o.asked += 1;
            o.asked
        });
        self.shared
            .lease
            .wait(PATIENCE, |o| (o.done >= asked).then_some(()));
    }

    /// Whether somebody else changed our tables since they were last written whole.
    fn look_for_losses(&mut self) -> bool {
        // Without netfilter in the kernel there is nothing that could be lost, and otherwise a look that fails says nothing: replacing rules is not harmless (see `contents`).
        let Ok(parts) = nft::parts(&mut self.netfilter) else {
            return self.written.is_damaged;
        };
        self.written.is_damaged |= parts != self.written.parts;
        self.written.parts = parts;
        if let Ok(contents) = contents::read(&mut self.netfilter, &self.written.contents) {
            self.written.is_emptied |= !contents::agree(&contents, &self.written.contents);
        }
        self.written.is_damaged
    }

    fn write_fence(&mut self, plan: &Plan, lost: bool) -> Result<(), VipError> {
        let interfaces = if plan.placed.is_empty() {
            BTreeMap::new()
        } else {
            plan.interfaces()
        };
        let text = ruleset::fence_rules(&interfaces, self.features);
        if text == self.written.fence && !lost {
            return Ok(());
        }
        if lost || self.written.fence.is_empty() {
            self.nft.run(&ruleset::fence_sets(self.features))?;
        }
        self.fence_follows(plan);
        let script = format!("{text}{}", self.stale_chains(&interfaces));
        if let Err(error) = self.nft.run(&script) {
            // Something of another shape is in the way, such as a chain for a renamed device.
            tracing::warn!(%error, "fence tables are made anew");
            self.nft.run(&format!(
                "{}{}",
                delete(),
                ruleset::fence_sets(self.features)
            ))?;
            self.fence_follows(plan);
            self.nft.run(&text)?;
        }
        self.written.fence = text;
        self.remember_parts();
        Ok(())
    }

    fn write_intercept(&mut self, lost: bool) -> Result<(), VipError> {
        let targets = ruleset::targets(&self.wanted.intercepts);
        let never_needed = self.written.intercept.is_none() && targets.is_empty();
        if never_needed || (self.written.intercept.as_ref() == Some(&targets) && !lost) {
            return Ok(());
        }
        let before = if lost {
            Targets::new()
        } else {
            self.written.intercept.clone().unwrap_or_default()
        };
        if let Err(error) = self.nft.run(&ruleset::intercept(&before, &targets)) {
            tracing::warn!(%error, "the interception table is made anew");
            self.nft.run(&format!(
                "{}{}",
                delete_tables(&[("inet", INTERCEPT)]),
                ruleset::intercept(&Targets::new(), &targets)
            ))?;
        }
        self.written.intercept = Some(targets);
        self.remember_parts();
        Ok(())
    }

    /// Brings the elements of these sets to what is wanted.
    fn fill(&mut self, plan: &Plan, wanted: Contents) -> Result<(), VipError> {
        let have = contents::read(&mut self.netfilter, &wanted)
            .map_err(VipError::kernel("list the tables' sets"))?;
        let changes = contents::changes(&have, &wanted);
        if !changes.is_empty() {
            // A lease element before the fence looks for it.
            self.fence_follows(plan);
            elements::change(&mut self.netfilter, &changes)
                .map_err(VipError::kernel("change the tables' sets"))?;
        }
        // Sets that went with their rules are not looked at any more.
        let tables: BTreeSet<&str> = wanted.keys().map(|set| set.table).collect();
        self.written
            .contents
            .retain(|set, _| !tables.contains(set.table));
        self.written.contents.extend(wanted);
        Ok(())
    }

    fn remember_parts(&mut self) {
        match nft::parts(&mut self.netfilter) {
            Ok(parts) => self.written.parts = parts,
            Err(error) => self.shared.fail(format!("looking at the tables: {error}")),
        }
    }

    /// Deletes chains of interfaces that carry no virtual IP any more.
    fn stale_chains(&self, interfaces: &BTreeMap<u32, String>) -> String {
        let wanted: BTreeSet<String> = interfaces
            .keys()
            .flat_map(|index| ruleset::fence_chains(*index, self.features))
            .map(|(chain, _)| chain)
            .collect();
        let mut text = String::new();
        for part in &self.written.parts {
            let ours = part.family == NFPROTO_NETDEV && !part.is_rule;
            if ours && !wanted.contains(&part.chain) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "flush chain netdev {FENCE} {}", part.chain);
                let _ = writeln!(text, "delete chain netdev {FENCE} {}", part.chain);
            }
        }
        text
    }
}

const FENCE_TABLES: [(&str, &str); 3] = [("netdev", FENCE), ("inet", FENCE), ("arp", FENCE)];

/// Deletes the fence tables, whether or not they are there.
fn delete() -> String {
    delete_tables(&FENCE_TABLES)
}

/// Deletes all of our tables, whether or not they are there, within about this time.
pub(super) fn delete_all(nft: &Nft, within: Duration) {
    let end = boot_now() + within;
    let delete = |families: &[&str]| {
        let mut tables = vec![("inet", INTERCEPT)];
        tables.extend(families.iter().map(|family| (*family, FENCE)));
        nft.run_within(&delete_tables(&tables), end.saturating_sub(boot_now()))
    };
    let all = FENCE_TABLES.map(|(family, _)| family);
    // A kernel without one of the families has no such table, and refuses the whole of it.
    let outcome = delete(&all).or_else(|_| delete(&["netdev", "inet"]));
    if let Err(error) = outcome.or_else(|_| delete(&["inet"])) {
        tracing::debug!(%error, "no tables removed");
    }
}

fn delete_tables(tables: &[(&str, &str)]) -> String {
    let line = |(family, name): &(&str, &str)| {
        format!("add table {family} {name}\ndelete table {family} {name}\n")
    };
    tables.iter().map(line).collect()
}
