//! Where problems of one file are collected: bounded, whatever the file is.

use super::{Problem, Problems};
use ha_core::text::printable;
use std::fmt;

/// More are counted, and not described: whoever mends these sees the others.
pub const PROBLEMS_MAX: usize = 100;
/// Names that a remedy lists.
const NAMES_SHOWN: usize = 20;
/// Letters of what was found, and of a key: a value may be as long as the file.
const FOUND_MAX: usize = 200;
/// Letters of what would be right.
const REMEDY_MAX: usize = 2000;

pub(super) struct Checker<'a> {
    file: &'a str,
    pub(super) text: &'a str,
    /// Where each line ends, read once.
    ends: Vec<usize>,
    problems: Vec<Problem>,
    more: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Checker {
            file,
            text,
            ends: Vec::new(),
            problems: Vec::new(),
            more: 0,
        }
    }

    /// Notes a problem at a byte of the text.
    pub(super) fn problem(
        &mut self,
        at: usize,
        key: &str,
        found: impl fmt::Display,
        remedy: impl fmt::Display,
    ) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let line = self.line(at);
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            key: cut(key, FOUND_MAX),
            found: cut(&found.to_string(), FOUND_MAX),
            remedy: cut(&remedy.to_string(), REMEDY_MAX),
        });
    }

    /// Notes a problem with the whole file.
    pub(super) fn whole(&mut self, found: impl fmt::Display, remedy: impl fmt::Display) {
        self.problem(0, "the file", found, remedy);
    }

    fn line(&mut self, at: usize) -> u32 {
        if self.ends.is_empty() {
            let bytes = self.text.bytes().enumerate();
            let ends = bytes.filter(|(_, b)| *b == b'\n').map(|(n, _)| n);
            self.ends = ends.collect();
        }
        let before = self.ends.partition_point(|end| *end < at);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => return Ok(value),
            _ => {}
        }
        if self.more > 0 {
            self.problems.push(Problem {
                file: self.file.to_owned(),
                line: 0,
                key: "the file".to_owned(),
                found: format!("{} more problems", self.more),
                remedy: "mend those above first".to_owned(),
            });
        }
        Err(Problems(self.problems))
    }
}

/// Some of many names, for a remedy.
pub(super) fn listed<'s>(names: impl ExactSizeIterator<Item = &'s str>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let mut text = String::new();
    for (n, name) in names.take(NAMES_SHOWN).enumerate() {
        if n > 0 {
            text += ", ";
        }
        text += &cut(name, 63);
    }
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// As much of a text as a person reads, with nothing in it that a terminal obeys.
pub(super) fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => printable(text).into_owned(),
        Some((end, _)) => format!("{}...", printable(&text[..end])),
    }
}
