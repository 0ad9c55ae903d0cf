//! Texts of people that other people read: in tables, in the log, on a terminal, which obeys what it is sent.

mod walk;

pub use walk::{Refused, all_plain};

use std::borrow::Cow;
use std::fmt::Write as _;

/// Bytes of a reason, a purpose, a name: what is kept, and shown in one line.
pub const TEXT_MAX: usize = 1024;

/// Whether a terminal or a log could take it for something else than a letter: C0, DEL and C1 move and clear, line
/// separators begin a line that nobody wrote, and direction marks show a text in another order than it has.
pub const fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// Why a text cannot be kept, if it cannot, as a sentence that goes on after "which".
pub fn objection(text: &str) -> Option<String> {
    if text.len() > TEXT_MAX {
        return Some(format!("has {} bytes: at most {TEXT_MAX}", text.len()));
    }
    let found = text.chars().find(|c| is_control(*c))?;
    Some(format!(
        "has the control character U+{:04X}: write plain text in one line",
        u32::from(found)
    ))
}

/// The text with every control character written out, as `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    escaped(text, is_control)
}

/// The same for a text of several lines, which stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let wrong = |c: char| is_control(c) && c != '\n';
    if !text.contains(wrong) {
        return Cow::Borrowed(text);
    }
    escaped(text, wrong)
}

fn escaped(text: &str, wrong: impl Fn(char) -> bool) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wrong(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_refused_and_written_out() {
        let rows = [
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb", "a\\u{a}b"),
            ("a\rb", "a\\u{d}b"),
            ("a\u{9b}b", "a\\u{9b}b"),
            ("a\x7fb", "a\\u{7f}b"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{2066}b", "a\\u{2066}b"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("a\u{200f}b", "a\\u{200f}b"),
        ];
        for (text, shown) in rows {
            assert!(objection(text).is_some(), "{text:?}");
            assert_eq!(printable(text), shown);
        }
        for text in [
            "",
            "updates",
            "Änderung für Zürich, 日本",
            "50 % - \"quoted\"",
        ] {
            assert_eq!(objection(text), None, "{text}");
            assert!(matches!(printable(text), Cow::Borrowed(_)), "{text}");
        }
        assert!(objection(&"x".repeat(TEXT_MAX + 1)).is_some());
        assert_eq!(printable_lines("a\nb\x1b"), "a\nb\\u{1b}");
    }
}
