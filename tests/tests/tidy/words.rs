//! One word, one meaning, and comments that are sentences.

use super::{none, sources};

/// Words that once had a meaning of their own here, and the field's word for each.
const PRIVATE: &[(&str, &str)] = &[
    ("Asker", "Principal"),
    ("Doorman", "Limiter"),
    ("Hall", "Entrance"),
    ("Knows", "Principal"),
    ("Orders", "what is ordered, as `AdminOrder`"),
    ("Snap", "AppliedState"),
    ("Stay", "a deadline"),
    ("Takes", "Permission"),
];

/// What two types of the agent must not both be called, whatever stands before or behind it elsewhere.
const ONCE: &[&str] = &[
    "FenceMode",
    "Gate",
    "Handover",
    "Identity",
    "Refusal",
    "Reporter",
    "Settings",
    "Subject",
    "View",
];

/// Words that a comment needs to say more than the name below it.
const DOC_WORDS_MIN: usize = 4;

/// Here a doc comment is the text of `--help`.
const HELP: &[&str] = &[
    "agent/src/args.rs",
    "cli/src/args/",
    "cli/src/output.rs",
    "simulations/src/main.rs",
];

/// The name of the type that a line begins.
fn type_named(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let rest = kinds.iter().find_map(|k| line.strip_prefix(k))?;
    rest.split(|c: char| !c.is_alphanumeric()).next()
}

#[test]
fn no_type_has_a_private_word_or_one_that_another_has() {
    let mut complaints = Vec::new();
    let mut found: Vec<(String, String)> = Vec::new();
    for (path, text) in sources() {
        for name in text.lines().filter_map(type_named) {
            if let Some((_, better)) = PRIVATE.iter().find(|(word, _)| *word == name) {
                complaints.push(format!("{path}: {name}: the field says {better}"));
            }
            let product = path.starts_with("agent/") && !path.contains("/tests");
            if !product || !ONCE.contains(&name) {
                continue;
            }
            if let Some((other, _)) = found.iter().find(|(_, n)| n == name) {
                complaints.push(format!(
                    "{path} and {other} both have a {name}: say which in one of the names"
                ));
            }
            found.push((path.clone(), name.to_owned()));
        }
    }
    assert!(found.len() > 4, "the types are not read any more");
    none(complaints);
}

/// Doc comments with the number of their first line.
fn docs(text: &str) -> Vec<(usize, String)> {
    let mut docs: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        let words = line.trim_start().strip_prefix("///");
        match (words, inside) {
            (Some(words), true) => docs.last_mut().unwrap().1 += words,
            (Some(words), false) => docs.push((i + 1, words.to_owned())),
            (None, _) => {}
        }
        inside = words.is_some();
    }
    docs
}

#[test]
fn a_comment_says_more_than_the_name_below_it() {
    let mut complaints = Vec::new();
    let mut read = 0;
    for (path, text) in sources() {
        if HELP.iter().any(|h| path.starts_with(h)) {
            continue;
        }
        for (line, doc) in docs(&text) {
            read += 1;
            if doc.split_whitespace().count() < DOC_WORDS_MIN {
                complaints.push(format!(
                    "{path}:{line}: {}: say a unit, a bound, an error or why, or nothing",
                    doc.trim()
                ));
            }
        }
    }
    assert!(read > 2000, "the comments are not read any more: {read}");
    none(complaints);
}

#[test]
fn every_file_says_at_its_top_what_it_is_about() {
    let bare = |(path, text): &(String, String)| {
        let opens = text.trim_start();
        (!opens.starts_with("//!")).then(|| format!("{path}: begin with `//!` and its topic"))
    };
    none(sources().iter().filter_map(bare).collect());
}

/// The rooms that others build on. What is public there is used by somebody who does not read the file.
#[test]
fn what_a_room_offers_is_described() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let room = path.strip_prefix("agent/").unwrap_or("");
        let is_room = room
            .split_once('/')
            .is_some_and(|(crate_name, rest)| crate_name != "src" && rest.starts_with("src/"));
        if !is_room || path.contains("tests") || path.contains("testing") {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let offered = line.strip_prefix("pub ").filter(|l| {
                !l.starts_with("use ") && !l.starts_with("mod ") && !l.starts_with("extern ")
            });
            let Some(offered) = offered else { continue };
            // Attributes may stand between, also of several lines.
            let above = lines[..i].iter().rev();
            let doc = above
                .copied()
                .find(|l| !(l.starts_with('#') || l.starts_with(' ') || l.starts_with(")]")));
            if !doc.is_some_and(|l| l.starts_with("///")) {
                complaints.push(format!("{path}:{}: {offered}: say what it is for", i + 1));
            }
        }
    }
    none(complaints);
}
