//! What a process has used so far, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Processor time and wakeups of a process and of its children.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Of all its threads, those that have ended too.
    pub cpu: Duration,
    /// Of the processes that it started and that still run.
    pub children_cpu: Duration,
    /// The threads that are there.
    pub threads: Vec<Thread>,
}

#[derive(Clone, Debug)]
pub struct Thread {
    /// Its name, at most 15 bytes.
    pub name: String,
    pub cpu: Duration,
    /// Times that it went to sleep by itself, so often was it woken.
    pub wakeups: u64,
    id: u32,
}

impl Usage {
    /// So far. Nothing of a process that is not there.
    pub fn of(pid: u32) -> Usage {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
        let ids: Vec<u32> = ids.collect();
        let children = ids.iter().flat_map(|id| {
            let children = read(&format!("/proc/{pid}/task/{id}/children"));
            let children = children.split_whitespace().map(str::to_owned);
            children.collect::<Vec<_>>()
        });
        Usage {
            cpu: ticks(&read(&format!("/proc/{pid}/stat"))),
            children_cpu: children
                .map(|child| ticks(&read(&format!("/proc/{child}/stat"))))
                .sum(),
            threads: ids.iter().map(|id| Thread::of(pid, *id)).collect(),
        }
    }

    /// What was used since then, the busiest thread first.
    #[must_use]
    pub fn since(&self, before: &Usage) -> Usage {
        let threads = self.threads.iter().map(|now| {
            let then = before.threads.iter().find(|then| then.id == now.id);
            let (cpu, wakeups) = then.map_or((Duration::ZERO, 0), |then| (then.cpu, then.wakeups));
            Thread {
                cpu: now.cpu.saturating_sub(cpu),
                wakeups: now.wakeups.saturating_sub(wakeups),
                ..now.clone()
            }
        });
        let mut threads: Vec<Thread> = threads.collect();
        threads.sort_by_key(|thread| std::cmp::Reverse((thread.cpu, thread.wakeups)));
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            children_cpu: self.children_cpu.saturating_sub(before.children_cpu),
            threads,
        }
    }
}

impl Thread {
    fn of(pid: u32, id: u32) -> Thread {
        let dir = format!("/proc/{pid}/task/{id}");
        let status = read(&format!("{dir}/status"));
        Thread {
            name: read(&format!("{dir}/comm")).trim().to_owned(),
            // Nanoseconds, where the kernel counts them: threads that wake up briefly are lost between ticks.
            cpu: read(&format!("{dir}/schedstat"))
                .split(' ')
                .next()
                .and_then(|nanos| nanos.parse().ok())
                .map_or_else(
                    || ticks(&read(&format!("{dir}/stat"))),
                    Duration::from_nanos,
                ),
            wakeups: field(&status, "voluntary_ctxt_switches:"),
            id,
        }
    }
}

/// What a process has in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All of it, pages of the program included.
    pub resident_mib: f64,
    /// What no other process has.
    pub private_mib: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Memory {
        let status = read(&format!("/proc/{pid}/status"));
        let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
        let mib = |kib: u64| kib as f64 / 1024.0;
        Memory {
            resident_mib: mib(field(&status, "VmRSS:")),
            private_mib: mib(field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:")),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number after a word at the beginning of a line; 0 without it.
fn field(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// User and system time in a `stat` file: fields 14 and 15, counted after the name, which may hold anything.
fn ticks(stat: &str) -> Duration {
    let Some((_, after)) = stat.rsplit_once(')') else {
        return Duration::ZERO;
    };
    let times = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every platform that Linux has.
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_after_a_name_that_looks_like_fields() {
        let stat = "12 (a) 1 2) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 3 0 100 0 0";
        assert_eq!(ticks(stat), Duration::from_secs(2));
        assert_eq!(ticks("gone"), Duration::ZERO);
    }

    #[test]
    fn this_process_has_used_something() {
        let before = Usage::of(std::process::id());
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).since(&before).cpu.is_zero() {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(!before.threads.is_empty());
        assert!(Memory::of(std::process::id()).resident_mib > 0.0);
    }
}
