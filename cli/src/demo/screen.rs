//! What the demo shows: phases that stay, and below them, on a terminal, a block that rewrites itself.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ha_proto::control::StatusReply;
use serde_json::{Value, json};

use super::traffic::Seen;
use crate::clock;
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::Tint;

/// How often the block is drawn.
const FRAME: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Screen {
    out: Output,
    live: bool,
    drawn: usize,
    last: Option<Instant>,
    state: String,
}

/// What the block that rewrites itself shows.
pub(super) struct Live<'a> {
    /// The line below the rest: what happens next.
    pub now: &'a str,
    /// None when no agent answered the last question.
    pub status: Option<&'a StatusReply>,
    pub seen: &'a Seen,
    /// From which address the client asks which.
    pub route: &'a str,
}

impl Screen {
    pub(super) fn new(out: Output) -> Self {
        let live = std::io::stdout().is_terminal() && !out.is_json();
        Screen {
            out,
            live,
            drawn: 0,
            last: None,
            state: String::new(),
        }
    }

    /// Something that stays: a sentence for people, an object with `phase` for programs.
    pub(super) fn phase(
        &mut self,
        phase: &str,
        text: &str,
        mut fields: Value,
    ) -> Result<(), Failure> {
        if self.out.is_json() {
            fields["phase"] = phase.into();
            fields["at_ms"] = clock::unix_ms().into();
            return self.out.json_line(&fields);
        }
        let tint = if phase == "kill" {
            Tint::Bad
        } else {
            Tint::Strong
        };
        let wipe = self.wipe();
        self.last = None;
        self.out.text(&format!(
            "{wipe}{}  {text}\n",
            self.out.painter.paint(&format!("{phase:>8}"), tint)
        ))
    }

    /// What changes all the time. Without a terminal, a line when the state of the agents changed.
    pub(super) fn live(
        &mut self,
        live: &Live<'_>,
        pid: impl Fn(&str) -> Option<u32>,
    ) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(());
        }
        if !self.live {
            let state = states(live);
            if state != self.state && live.status.is_some() {
                self.out.line(&format!("          {state}"))?;
                self.state = state;
            }
            return Ok(());
        }
        if self.last.is_some_and(|last| last.elapsed() < FRAME) {
            return Ok(());
        }
        self.last = Some(clock::now());
        let lines = self.block(live, pid, columns());
        let wipe = self.wipe();
        self.drawn = lines.len();
        self.out.text(&format!("{wipe}{}\n", lines.join("\n")))
    }

    /// Goes back to where the block began and clears it.
    fn wipe(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// No line is longer than a terminal of so many columns: one that wraps would not be wiped as one.
    fn block(
        &self,
        live: &Live<'_>,
        pid: impl Fn(&str) -> Option<u32>,
        columns: usize,
    ) -> Vec<String> {
        let paint = |text: &str, tint| self.out.painter.paint(text, tint);
        let mut lines = vec![String::new()];
        for name in super::places::NODES {
            let (state, holds) = node(live.status, name);
            let (state, pid) = match pid(name) {
                Some(pid) => (state, format!("pid {pid}")),
                None => ("not running", String::new()),
            };
            let tint = match state {
                "leader" | "follower" => Tint::Good,
                "not running" | "unreachable" => Tint::Bad,
                _ => Tint::Warn,
            };
            let holds = if holds && !pid.is_empty() {
                "holds the address"
            } else {
                ""
            };
            lines.push(format!(
                "  {name}  {}  {holds:<17}  {}",
                paint(&format!("{state:<12}"), tint),
                paint(&pid, Tint::Quiet)
            ));
        }
        let now = clock::now();
        let last = live
            .seen
            .since_last(now)
            .map_or("-".into(), |ago| format!("{} ms ago", ago.as_millis()));
        lines.push(format!(
            "  client  {} -> {}",
            live.route,
            paint(&live.seen.server, Tint::Strong)
        ));
        lines.push(format!(
            "          {} answers, {} failed, last {last}",
            live.seen.answers, live.seen.failures
        ));
        lines.push(format!(
            "          longest time between two answers {} ms",
            live.seen.gap(now).as_millis()
        ));
        for part in folded(live.now, columns.saturating_sub(3)) {
            lines.push(format!("  {}", paint(&part, Tint::Quiet)));
        }
        lines
            .into_iter()
            .map(|line| clipped(&line, columns.saturating_sub(1)))
            .collect()
    }
}

/// A terminal is so wide when it does not say.
const COLUMNS: usize = 80;

/// The columns of the terminal at standard output.
fn columns() -> usize {
    #[cfg(unix)]
    {
        // SAFETY: zeroes are a valid `winsize`, and the call writes no more than one.
        let (size, rc) = unsafe {
            let mut size: libc::winsize = std::mem::zeroed();
            let rc = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size);
            (size, rc)
        };
        if rc == 0 && size.ws_col > 0 {
            return usize::from(size.ws_col);
        }
    }
    COLUMNS
}

/// The text in lines of at most so many letters, broken between words where that is possible.
fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        let (have, more) = (line.chars().count(), word.chars().count());
        if have > 0 && have + 1 + more > columns {
            lines.push(word.to_owned());
        } else {
            if have > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The line without what is beyond so many letters; colours take no room.
fn clipped(line: &str, columns: usize) -> String {
    let (mut kept, mut width, mut in_code) = (String::new(), 0, false);
    for letter in line.chars() {
        in_code |= letter == '\x1b';
        if !in_code {
            width += 1;
        }
        if in_code || width <= columns {
            kept.push(letter);
        }
        in_code &= letter != 'm';
    }
    kept
}

/// The state of a node, and whether it holds the address.
fn node<'a>(status: Option<&'a StatusReply>, name: &str) -> (&'a str, bool) {
    let Some(status) = status else {
        return ("starting", false);
    };
    let state = status
        .nodes
        .iter()
        .find(|node| node.name == name)
        .map_or("-", |node| node.state.as_str());
    (state, status.holder == name)
}

/// The agents' states and the client's server, on one line.
fn states(live: &Live<'_>) -> String {
    let nodes = super::places::NODES.map(|name| match node(live.status, name) {
        (state, true) => format!("{name} {state}, holds"),
        (state, false) => format!("{name} {state}"),
    });
    format!(
        "{}; client -> {}",
        nodes.join("; "),
        if live.seen.server.is_empty() {
            "-"
        } else {
            &live.seen.server
        }
    )
}

/// What the client saw, for programs.
pub(super) fn seen_json(seen: &Seen) -> Value {
    json!({ "answers": seen.answers, "failures": seen.failures, "server": seen.server })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn no_line_of_the_block_is_longer_than_a_narrow_terminal() {
        let screen = Screen::new(Output::new(Format::Table));
        let mut seen = Seen::default();
        seen.server = "a-server-with-a-rather-long-name".into();
        let now = "in 4 s the leader is killed with SIGKILL; the client goes on asking meanwhile, every few milliseconds";
        let live = Live {
            now,
            status: None,
            seen: &seen,
            route: "127.0.0.1 asks 127.77.100.100:15022",
        };
        for columns in [20, 40, 60, 200] {
            let lines = screen.block(&live, |_| Some(4_000_000), columns);
            for line in &lines {
                assert!(line.chars().count() < columns, "{columns}: {line}");
            }
        }
        let told = screen.block(&live, |_| None, 60).join(" ");
        let told: Vec<&str> = told.split_whitespace().collect();
        assert!(told.join(" ").ends_with(now), "nothing of it is lost");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(clipped("a\x1b[31mbcd\x1b[0m", 2), "a\x1b[31mb\x1b[0m");
    }
}
