//! A freed slot serves the oldest waiter that may use it, and none is free while somebody waits for it.
//!
//! A list of its own, which goes by what may serve a client and not by the queue that it waits in: a client that is bound
//! nowhere may use any server that takes newcomers, wherever it was put.

use crate::cluster::slots::Pool;
use ha_core::id::ServerId;
use ha_core::waiters::Queue;
use std::collections::BTreeMap;

/// A slot is given to who may use it within so long, in world time.
const SERVED_WITHIN: u64 = 200_000_000;

/// Who waits in each process.
#[derive(Debug, Default)]
pub struct Slots {
    processes: u64,
    of: BTreeMap<u64, Waiting>,
}

/// Numbers grow in the order in which they came.
#[derive(Debug, Default)]
struct Waiting {
    line: BTreeMap<u64, (usize, Queue)>,
    /// Who waits although that server has a free slot, since when.
    passed_over: BTreeMap<(u64, ServerId), u64>,
}

impl Slots {
    /// A process begins; its number.
    pub fn begin(&mut self) -> u64 {
        self.processes += 1;
        self.of.insert(self.processes, Waiting::default());
        self.processes
    }

    /// A process has ended, with all who waited there.
    pub fn on_ended(&mut self, process: u64) {
        self.of.remove(&process);
    }

    /// A client has come who may use what `may` says.
    pub fn on_came(&mut self, process: u64, number: u64, client: usize, may: Queue) {
        if let Some(waiting) = self.of.get_mut(&process) {
            waiting.line.insert(number, (client, may));
        }
    }

    /// It waits no more.
    pub fn on_left(&mut self, process: u64, number: u64) {
        if let Some(waiting) = self.of.get_mut(&process) {
            waiting.line.remove(&number);
        }
    }

    /// It has a slot of that server, which is as `pool` says, this slot included.
    pub fn on_granted(
        &mut self,
        process: u64,
        number: u64,
        server: ServerId,
        pool: Pool,
    ) -> Result<(), String> {
        let Some(waiting) = self.of.get_mut(&process) else {
            return Ok(());
        };
        let Some((client, _)) = waiting.line.remove(&number) else {
            return Ok(());
        };
        if pool.max > 0 && pool.used > pool.max {
            return Err(format!(
                "slots: server {} has {} sessions of at most {}",
                server.0, pool.used, pool.max
            ));
        }
        let mut older = waiting.line.range(..number);
        match older.find(|(_, (_, may))| may.takes(server, pool.open)) {
            None => Ok(()),
            Some((_, (passed, _))) => Err(format!(
                "slots: a freed slot of server {} goes to client {client}, and client {passed} has waited longer and may use it",
                server.0
            )),
        }
    }

    /// What is free in a process now. `stands_still`: nothing can be done there at the moment.
    pub fn on_look(
        &mut self,
        process: u64,
        now: u64,
        stands_still: bool,
        pools: &BTreeMap<ServerId, Pool>,
    ) -> Result<(), String> {
        let Some(waiting) = self.of.get_mut(&process) else {
            return Ok(());
        };
        let free = pools
            .iter()
            .filter(|(_, pool)| pool.is_free() && !stands_still);
        let mut passed_over = BTreeMap::new();
        for (server, pool) in free {
            for (number, (client, may)) in &waiting.line {
                if !may.takes(*server, pool.open) {
                    continue;
                }
                let known = waiting.passed_over.get(&(*number, *server));
                let since = known.copied().unwrap_or(now);
                if now > since + SERVED_WITHIN {
                    return Err(format!(
                        "slots: client {client} waits for {} ms while server {}, which it may use, has a free slot",
                        (now - since) / 1_000_000,
                        server.0
                    ));
                }
                passed_over.insert((*number, *server), since);
            }
        }
        waiting.passed_over = passed_over;
        Ok(())
    }
}
