//! Where results go: standard output carries the result and nothing else, as a table or as JSON;
//! progress, questions and errors go to standard error.

use std::io::{self, IsTerminal, Write};

use ha_core::text::{is_control, printable};
use serde::Serialize;

use crate::exit::Failure;
use crate::paint::{Painter, shown};
use crate::table::Table;

/// The value of `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Writes results in the chosen format.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    pub painter: Painter,
}

impl Output {
    /// An output to this process's standard output.
    pub fn new(format: Format) -> Self {
        Output {
            format,
            painter: Painter::for_stdout(),
        }
    }

    /// Whether programs read along.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One JSON document, indented.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.text(&format!("{}\n", in_json(&text)))
    }

    /// One JSON document on one line, for streams.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.text(&format!("{}\n", in_json(&text)))
    }

    /// Text as it is, flushed, so that a reader of a stream sees it at once.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// The text and the end of its line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{}\n", shown(line)))
    }

    /// A table, or a sentence when it is empty.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn table(&self, table: &Table, when_empty: &str) -> Result<(), Failure> {
        if table.is_empty() {
            self.line(when_empty)
        } else {
            self.text(&table.render(self.painter))
        }
    }

    /// Says on standard error why the command failed.
    pub fn failure(&self, failure: &Failure) {
        if failure.quiet {
            return;
        }
        let text = if self.is_json() {
            let error = serde_json::json!({
                "error": { "exit": failure.exit.code(), "kind": failure.exit,
                           "message": failure.message, "remedy": failure.remedy }
            });
            error.to_string()
        } else if failure.remedy.is_empty() {
            format!("ha-cli: {}", failure.message)
        } else {
            format!("ha-cli: {}\n  {}", failure.message, failure.remedy)
        };
        note(&text);
    }
}

/// JSON writes out the first control characters by itself; the others that a terminal obeys in its own way too.
fn in_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match u16::try_from(u32::from(c)) {
            Ok(unit) if is_control(c) && c != '\n' => out.push_str(&format!("\\u{unit:04x}")),
            _ => out.push(c),
        }
    }
    out
}

/// A line on standard error. That nobody reads it is no reason to stop.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(line));
}

/// Progress on standard error: one line that rewrites itself on a terminal, else a line per change.
#[derive(Debug)]
pub struct Progress {
    live: bool,
    json: bool,
    last: String,
}

impl Progress {
    /// Progress in the format of the output.
    pub fn new(out: &Output) -> Self {
        Progress {
            live: io::stderr().is_terminal() && !out.is_json(),
            json: out.is_json(),
            last: String::new(),
        }
    }

    /// Shows how far it is; `key` changes when a line of its own is worth it.
    pub fn show(&mut self, key: &str, line: &str) {
        let changed = self.last != key;
        self.last = key.to_string();
        if self.live {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{}", printable(line));
        } else if changed && self.json {
            note(&serde_json::json!({ "progress": line }).to_string());
        } else if changed {
            note(line);
        }
    }

    /// Takes the line away, so that the result stands alone.
    pub fn clear(&mut self) {
        if self.live && !self.last.is_empty() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
            self.last.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
