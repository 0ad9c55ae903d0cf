//! What the compiler cannot see: sizes, platforms, walls between crates, citations. Each message says what to do.

mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file that still reads in one go.
const LINES_MAX: usize = 400;

/// Files that were longer when the rule was made, and how long they may be: a number here only ever falls.
const LONGER: &[(&str, usize)] = &[
    ("agent/address/tests/netns/parking.rs", 413),
    ("agent/src/main.rs", 414),
    ("agent/src/operate/trust.rs", 426),
    ("agent/src/store/mod.rs", 426),
    ("simulations/src/cluster/universe.rs", 470),
    ("simulations/src/controllers/world.rs", 664),
];

/// What may ask which system it runs on: the one place in each crate that chooses a platform.
const CHOOSES_A_PLATFORM: &[&str] = &[
    "agent/address/src/lib.rs",
    "agent/proxy/src/lib.rs",
    "agent/src/sys/mod.rs",
    "agent/trust/src/lib.rs",
];

/// What each crate may list, of this workspace and of what opens sockets, disks or clocks.
const WALLS: &[(&str, &[&str])] = &[
    ("agent/core", &[]),
    ("agent/record", &["ha-core"]),
    (
        "agent/node",
        &["ha-core", "ha-record", "openraft", "openraft-rt", "tokio"],
    ),
    ("agent/proxy", &["ha-core", "socket2", "tokio", "libc"]),
    ("agent/check", &["ha-core", "socket2", "tokio"]),
    (
        "agent/address",
        &["ha-core", "socket2", "tokio", "libc", "netlink-sys"],
    ),
    ("agent/trust", &["ha-core", "rustls", "tokio"]),
    (
        "simulations",
        &[
            "ha-core",
            "ha-node",
            "ha-record",
            "openraft",
            "openraft-rt",
            "openraft-rt-tokio",
            "tokio",
        ],
    ),
    (
        "cli",
        &["ha-core", "ha-proto", "ha-trust", "tokio", "tonic", "libc"],
    ),
];

/// What [`WALLS`] watches over, beside every `ha-` crate.
const WATCHED: &[&str] = &[
    "tokio",
    "tonic",
    "sled",
    "socket2",
    "libc",
    "openraft",
    "openraft-rt",
    "openraft-rt-tokio",
    "netlink-sys",
    "hyper",
    "rustls",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file, by its path from the top.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for top in ["agent", "cli", "proto", "simulations", "tests"] {
        collect(&root().join(top), &mut found);
    }
    let top = root();
    let path = |p: &Path| p.strip_prefix(&top).unwrap().display().to_string();
    let mut sources: Vec<_> = found
        .iter()
        .map(|p| (path(p), fs::read_to_string(p).unwrap()))
        .collect();
    sources.sort();
    assert!(sources.len() > 200, "the sources are not where they were");
    sources
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_file_is_longer_than_reads_in_one_go() {
    let allowed = |path: &str| {
        let known = LONGER.iter().find(|(p, _)| *p == path);
        known.map_or(LINES_MAX, |(_, lines)| *lines)
    };
    let sources = sources();
    let mut complaints = Vec::new();
    for (path, text) in &sources {
        let (lines, max) = (text.lines().count(), allowed(path));
        if lines > max {
            complaints.push(format!(
                "{path}: {lines} lines, at most {max}: split it along its topics"
            ));
        }
        if max > LINES_MAX && lines <= LINES_MAX {
            complaints.push(format!(
                "{path} has {lines} lines by now: take it out of LONGER"
            ));
        }
    }
    for (path, _) in LONGER {
        if !sources.iter().any(|(p, _)| p == path) {
            complaints.push(format!("{path} is gone: take it out of LONGER"));
        }
    }
    none(complaints);
}

#[test]
fn only_one_place_in_a_crate_asks_which_system_it_is() {
    let asks = [
        "cfg(target_os",
        "cfg!(unix",
        "cfg(not(target_os",
        "cfg(unix",
        "cfg(windows",
    ];
    let complaints = sources()
        .iter()
        .filter(|(path, _)| {
            path.starts_with("agent/")
                && path.contains("src/")
                && !CHOOSES_A_PLATFORM.contains(&path.as_str())
        })
        .filter(|(_, text)| asks.iter().any(|a| text.contains(a)))
        .map(|(path, _)| {
            format!("{path} asks which system it is: put that behind its crate's `platform`")
        })
        .collect();
    none(complaints);
}

#[test]
fn no_room_lists_what_it_may_not_know() {
    let mut complaints = Vec::new();
    for (room, may) in WALLS {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            let watched = name.starts_with("ha-") || WATCHED.contains(&name);
            if section.contains("dependencies")
                && !section.contains("dev-")
                && watched
                && !may.contains(&name)
            {
                complaints.push(format!(
                    "{room} lists {name}: ask for it through a trait, or do it in agent/src"
                ));
            }
        }
    }
    none(complaints);
}

#[test]
fn what_the_sources_cite_is_in_the_repository() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        // This list of what is looked for is not a citation.
        if path == "tests/tests/tidy/main.rs" {
            continue;
        }
        for word in text.split(|c: char| c.is_whitespace() || "`()[]\"',;".contains(c)) {
            let word = word.trim_end_matches(['.', ':']).trim_start_matches("../");
            let is_page = word.ends_with(".md")
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            if is_page && word.len() > 3 && !root().join(word).exists() {
                complaints.push(format!(
                    "{path} cites {word}, which is not there: name a page of docs/"
                ));
            }
        }
    }
    none(complaints);
}
