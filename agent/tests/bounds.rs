//! Files that somebody wrote to keep a reader busy: each is read in bounded time and memory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; it measures real time"
)]

use ha_agent::config::cluster_file::FILE_MAX;
use ha_agent::config::{AgentConfig, parse_cluster};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Of a machine that is busy with something else, without optimisation: what is linear takes a tenth of it.
const WITHIN: Duration = Duration::from_secs(2);
/// Of all that one reading has at once: the file's own bytes 64 times.
const MEMORY_MAX: usize = 64 << 20;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The memory of one reading at a time is measured.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Cost {
    took: Duration,
    memory: usize,
}

fn measured<T>(read: impl FnOnce() -> T) -> (T, Cost) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let from = Instant::now();
    let result = read();
    let took = from.elapsed();
    let memory = PEAK.load(Relaxed).saturating_sub(before);
    (result, Cost { took, memory })
}

const HEAD: &str = "[[virtual_ip]]\nname = \"print\"\naddress = \"10.0.0.100/24\"\n";

/// `head`, then `piece` until the file is as large as it may be.
fn filled(head: &str, piece: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for n in 0.. {
        let next = piece(n);
        if text.len() + next.len() + tail.len() > FILE_MAX {
            break;
        }
        text += &next;
    }
    text + tail
}

fn many(head: &str, piece: &str, tail: &str) -> String {
    filled(head, |_| piece.to_owned(), tail)
}

fn frontend(listeners: &str) -> String {
    format!(
        "{HEAD}[[frontend]]\nname = \"f\"\nvirtual_ip = \"print\"\nbackend = \"b\"\nlisteners = [{listeners}"
    )
}

/// What an attacker would send; none of them is right.
fn hostile() -> Vec<(&'static str, String)> {
    let long = "x".repeat(FILE_MAX - 100);
    let twenty_thousand =
        |each: &dyn Fn(usize) -> String| (0..20_000).map(each).collect::<String>();
    vec![
        ("a list of bad ports", many(&frontend(""), "0, ", "]\n")),
        ("a bad port a line", many(&frontend("\n"), "0,\n", "]\n")),
        (
            "overlapping ranges",
            many(&frontend(""), "\"1-65535\",", "]\n"),
        ),
        (
            "disjoint ports, again and again",
            filled(&frontend(""), |n| format!("{},", 1 + n % 65_535), "]\n"),
        ),
        ("lists in lists", many("a = ", "[", "")),
        (
            "lists in lists, closed",
            format!("a = {}{}", "[".repeat(500_000), "]".repeat(500_000)),
        ),
        ("tables in tables", many("a = ", "{a=", "")),
        ("a path that is deep", many("a", ".a", " = 1")),
        (
            "headers that are deep",
            filled("", |n| format!("[{}b{n}]\n", "a.".repeat(70)), ""),
        ),
        (
            "unknown keys",
            filled("", |n| format!("key{n} = {n}\n"), ""),
        ),
        (
            "unknown keys in a known table",
            filled("[cluster]\n", |n| format!("key{n} = {n}\n"), ""),
        ),
        ("one long unknown key", format!("{long} = 1\n")),
        (
            "one long unknown key of a table",
            format!("[cluster]\n{long} = 1\n"),
        ),
        ("a long word", format!("[cluster]\ntiming = \"{long}\"\n")),
        ("a long name, many times", {
            let name = "x".repeat(2000);
            many(HEAD, &format!("[[backend]]\nname = \"{name}\"\n"), "")
        }),
        (
            "a long duration",
            format!("[cluster]\npromise = \"{long}\"\n"),
        ),
        (
            "a long number",
            format!("[cluster]\nbindings_max = {}\n", "1".repeat(FILE_MAX - 100)),
        ),
        ("tiny tables", many("", "[[backend]]\n", "")),
        (
            "tiny tables that are empty",
            many("backend = [", "{},", "]"),
        ),
        (
            "tiny servers",
            many("[[backend]]\nname = \"b\"\n", "[[backend.server]]\n", ""),
        ),
        (
            "servers in one list",
            many(
                "[[backend]]\nname = \"b\"\nserver = [",
                "{name=\"s\"},",
                "]",
            ),
        ),
        ("the same table again", many("", "[a]\n", "")),
        ("the same key again", many("", "a=1\n", "")),
        (
            "duplicated backends",
            twenty_thousand(&|_| "[[backend]]\nname = \"b\"\n".to_owned()),
        ),
        (
            "duplicated frontends",
            HEAD.to_owned()
                + &twenty_thousand(&|_| {
                    "[[frontend]]\nname=\"f\"\nvirtual_ip=\"p\"\nbackend=\"b\"\n".to_owned()
                }),
        ),
        (
            "frontends without backends",
            filled(
                HEAD,
                |n| {
                    format!(
                        "[[frontend]]\nname=\"f{n}\"\nvirtual_ip=\"v\"\nlisteners=[1]\nbackend=\"b\"\n[[backend]]\nname=\"c{n}\"\n"
                    )
                },
                "",
            ),
        ),
        (
            "frontends on the same port",
            filled(
                HEAD,
                |_| {
                    "[[frontend]]\nname=\"f\"\nvirtual_ip=\"print\"\nlisteners=[1,2]\nbackend=\"b\"\n".to_owned()
                },
                "",
            ),
        ),
        (
            "the same address",
            many("", "[[virtual_ip]]\nname=\"v\"\naddress=\"10.0.0.1\"\n", ""),
        ),
        ("open strings", many("", "a=\"\n", "")),
        ("many-line strings", many("", "a=\"\"\"x\"\"\"\n", "")),
        ("quotes", many("", "\"", "")),
        (
            "backquotes in a key",
            format!("\"{}\" = 1\n", "`".repeat(FILE_MAX - 100)),
        ),
        ("backslashes", many("a = \"", "\\", "\"")),
        ("escapes", many("a = \"", "\\u0041", "\"")),
        ("commas", many("a = [", ",", "]")),
        ("equals", many("", "=", "")),
        ("dots", many("", ".", "")),
        ("brackets that close", many("", "]", "")),
        ("line ends", many("", "\n", "")),
        ("returns", many("", "\r", "")),
        ("zeroes", many("", "\0", "")),
        ("a comment", many("#", "x", "")),
        ("words", many("", "a b ", "")),
        ("a dotted date", many("a = ", "1979-05-27T07:32:00,", "")),
        ("too large", "\n".repeat(FILE_MAX + 1)),
    ]
}

#[test]
fn a_hostile_file_costs_little_time_and_memory() {
    for (what, text) in hostile() {
        let (read, cost) = measured(|| {
            parse_cluster("cluster.toml", &text).map_err(|problems| problems.to_string())
        });
        println!("{what}: {:?}, {} KiB", cost.took, cost.memory >> 10);
        let said = read.map_or_else(|said| said, |_| String::new());
        assert!(
            said.len() < 64 << 10,
            "{what}: {} bytes are said",
            said.len()
        );
        assert!(cost.took < WITHIN, "{what}: {:?}", cost.took);
        assert!(cost.memory < MEMORY_MAX, "{what}: {} bytes", cost.memory);
        let (_, cost) = measured(|| drop(AgentConfig::parse("agent.toml", &text)));
        assert!(cost.took < WITHIN, "{what} as agent.toml: {:?}", cost.took);
        assert!(cost.memory < MEMORY_MAX, "{what} as agent.toml");
    }
}
