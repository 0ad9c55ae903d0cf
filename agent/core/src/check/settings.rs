//! The text of a check's settings: the inside of a TOML inline table, `port = 5022, close = "rst"`.
//!
//! Only what settings need: bare keys, whole numbers, strings. In the order in which they were given.

use std::fmt;

/// The settings of a check, by key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SettingsText(Vec<(String, Value)>);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
}

impl SettingsText {
    /// `None` for what is no such text, or names a key twice.
    pub fn parse(text: &str) -> Option<SettingsText> {
        let mut settings = SettingsText::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=')?;
            let key = key.trim_end();
            let (value, after) = value(after.trim_start())?;
            if !is_key(key) || settings.0.iter().any(|(k, _)| k == key) {
                return None;
            }
            settings.0.push((key.to_owned(), value));
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => Some(next.trim_start()).filter(|next| !next.is_empty())?,
                None if after.is_empty() => after,
                None => return None,
            };
        }
        Some(settings)
    }

    /// With one more, unless it is `None`.
    pub fn with(mut self, key: &str, value: Option<Value>) -> SettingsText {
        self.0.extend(value.map(|v| (key.to_owned(), v)));
        self
    }

    pub fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }

    /// Whether nothing is left that nobody took.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for SettingsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{key} = {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Value::Number(n) => return n.fmt(f),
            Value::Text(text) => text,
        };
        f.write_str("\"")?;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// One value and what follows it.
fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        return string(inside);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((Value::Number(number), &text[end..]))
}

/// What stands before the closing quotation mark, and what follows that.
fn string(text: &str) -> Option<(Value, &str)> {
    let mut found = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Value::Text(found), &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\') => found.push(c),
                'u' => {
                    let code: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    found.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                _ => return None,
            },
            c => found.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_from_their_text() {
        for text in ["", "a", "\"", "a, b = \"c\"", "\\", "tab\t, nul\0, ü"] {
            let settings = SettingsText::default()
                .with("send-hex", Some(Value::Text(text.to_owned())))
                .with("days", Some(Value::Number(14)))
                .with("absent", None);
            let written = settings.to_string();
            assert_eq!(SettingsText::parse(&written), Some(settings), "{written}");
        }
    }

    #[test]
    fn what_is_no_settings_text_is_refused() {
        for text in [
            "a",
            "a =",
            "= 1",
            "a = 1,",
            "a = 1 b = 2",
            "a = 1, a = 2",
            "a = \"",
            "a = \"\\",
            "a = \"\\u12\"",
            "a = -1",
            "a b = 1",
            ", a = 1",
        ] {
            assert_eq!(SettingsText::parse(text), None, "{text}");
        }
        assert_eq!(SettingsText::parse("  "), Some(SettingsText::default()));
    }
}
