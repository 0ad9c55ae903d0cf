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
        let lines = self.block(live, pid);
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

    fn block(&self, live: &Live<'_>, pid: impl Fn(&str) -> Option<u32>) -> Vec<String> {
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
            "          {} answers, {} failed, last {last}, longest time between two answers {} ms",
            live.seen.answers,
            live.seen.failures,
            live.seen.gap(now).as_millis()
        ));
        lines.push(format!("  {}", paint(live.now, Tint::Quiet)));
        lines
    }
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
