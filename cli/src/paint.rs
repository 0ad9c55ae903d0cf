//! Colours: only on a terminal, and never when `NO_COLOR` is set to something.

use std::io::IsTerminal;

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
