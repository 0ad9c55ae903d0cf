//! Colours: only on a terminal, and never when `NO_COLOR` is set to something.

use std::io::IsTerminal;

use ha_core::text::printable;

/// What a piece of text says, from which its colour follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tint {
    #[default]
    Plain,
    Good,
    /// On its way up or down, or something to look at.
    Warn,
    /// Not working, or about to go.
    Bad,
    /// Taken out by an operator.
    Held,
    /// Of little interest, such as ids.
    Quiet,
    /// What a reader looks for first.
    Strong,
}

/// Adds colours, or leaves text as it is.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    on: bool,
}

impl Painter {
    /// Decides for the standard output of this process.
    pub fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Painter {
            on: std::io::stdout().is_terminal() && !unwanted && !dumb,
        }
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Painter { on: false }
    }

    /// The text in the colour of its meaning.
    pub fn paint(self, text: &str, tint: Tint) -> String {
        let code = match tint {
            Tint::Plain => return text.to_string(),
            Tint::Good => "32",
            Tint::Warn => "33",
            Tint::Bad => "31",
            Tint::Held => "36",
            Tint::Quiet => "2",
            Tint::Strong => "1",
        };
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// What `paint` puts around a text.
const CODES: [&str; 7] = [
    "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[36m", "\x1b[2m", "\x1b[1m", "\x1b[0m",
];

/// A text for a terminal: lines, tabs and our own colours as they are, every other control character written out.
/// What agents say is somebody else's.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let code = CODES.iter().find(|code| rest.starts_with(**code));
        let piece = match (code, c) {
            (Some(code), _) => code.len(),
            (None, _) => c.len_utf8(),
        };
        let (first, left) = rest.split_at(piece);
        if code.is_some() || matches!(c, '\n' | '\t') {
            out.push_str(first);
        } else {
            out.push_str(&printable(first));
        }
        rest = left;
    }
    out
}

/// The colour of HAProxy's words for a server: as on its stats page, as far as terminals go.
pub fn server_tint(status: &str) -> Tint {
    match status {
        "UP" => Tint::Good,
        s if s.starts_with("UP ") || s.starts_with("DOWN ") => Tint::Warn,
        s if s.starts_with("DOWN") => Tint::Bad,
        s if s.starts_with("DRAIN") || s.starts_with("NOLB") || s.starts_with("MAINT") => {
            Tint::Held
        }
        _ => Tint::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_moves_no_cursor_and_clears_no_screen() {
        let painted = Painter { on: true }.paint("up", Tint::Good);
        assert_eq!(shown(&format!("{painted}\n\tx")), format!("{painted}\n\tx"));
        assert_eq!(shown("a\x1b[2Jb\x1b[8mc"), "a\\u{1b}[2Jb\\u{1b}[8mc");
        assert_eq!(shown("a\rb\u{9b}2J\u{202e}"), "a\\u{d}b\\u{9b}2J\\u{202e}");
    }

    #[test]
    fn words_have_the_colours_of_the_stats_page() {
        assert_eq!(server_tint("UP"), Tint::Good);
        assert_eq!(server_tint("UP 2/3"), Tint::Warn);
        assert_eq!(server_tint("DOWN 1/2"), Tint::Warn);
        assert_eq!(server_tint("DOWN"), Tint::Bad);
        assert_eq!(server_tint("MAINT (via app/alpha)"), Tint::Held);
        assert_eq!(server_tint("no check"), Tint::Plain);
    }

    #[test]
    fn a_plain_painter_leaves_text_alone() {
        assert_eq!(Painter::plain().paint("DOWN", Tint::Bad), "DOWN");
    }
}
