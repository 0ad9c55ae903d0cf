//! The page of `status`: a heading, then nodes, servers and frontends, then warnings. Pure.

use ha_proto::control::{NodeStatus, ServerStatus, StatusReply};

use crate::human::{ago, bytes, count, span, utc};
use crate::paint::{Painter, Tint, server_tint};
use crate::table::{Cell, Table};

/// The page for people; ages are counted up to `now_ms`, milliseconds since 1970.
pub(super) fn page(status: &StatusReply, now_ms: u64, painter: Painter) -> String {
    let mut text = cut_off(status, now_ms, painter);
    text.push_str(&heading(status, now_ms, painter));
    let nodes = nodes(status, Detail::Brief, now_ms);
    for table in [nodes, servers(status, now_ms), frontends(status)] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table.render(painter));
        }
    }
    for warning in &status.warnings {
        text.push_str(&painter.paint(&format!("\nwarning: {warning}"), Tint::Warn));
    }
    if !status.warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// That what follows may be old, if it may be.
fn cut_off(status: &StatusReply, now_ms: u64, painter: Painter) -> String {
    if status.cut_off.is_empty() {
        return String::new();
    }
    let line = format!(
        "CUT OFF since {} ({}): {}; what follows may be old",
        utc(status.cut_off_since_ms),
        ago(status.cut_off_since_ms, now_ms),
        status.cut_off
    );
    painter.paint(&line, Tint::Bad) + "\n\n"
}

/// Who leads, who holds and since when, and how much there is to do.
fn heading(status: &StatusReply, now_ms: u64, painter: Painter) -> String {
    let somebody = |name: &str, nobody: &str| match name {
        "" => painter.paint(nobody, Tint::Bad),
        name => painter.paint(name, Tint::Strong),
    };
    let mut text = format!(
        "cluster  {}   term {}   config {}   answered by {} ({})\n",
        painter.paint(&status.cluster, Tint::Strong),
        status.term,
        status.config_version,
        status.answered_by,
        status.version
    );
    text.push_str(&format!(
        "leader   {}",
        somebody(&status.leader, "nobody (an election is on)")
    ));
    if status.lease_left_ms != 0 {
        text.push_str(&format!("   lease {} ms left", status.lease_left_ms));
    }
    text.push_str(&format!(
        "\nholder   {}   epoch {}",
        somebody(&status.holder, "nobody"),
        status.epoch
    ));
    if !status.holder.is_empty() && status.holder_since_ms != 0 {
        let held = now_ms.saturating_sub(status.holder_since_ms);
        text.push_str(&format!("   for {}", span(held)));
    }
    if !status.holder_reason.is_empty() {
        text.push_str(&format!("   ({})", status.holder_reason));
    }
    for vip in &status.virtual_ips {
        let holder = if vip.holder.is_empty() {
            "nobody"
        } else {
            &vip.holder
        };
        text.push_str(&format!(
            "\nvirtual  {}  {} on {holder}",
            vip.name, vip.address
        ));
    }
    text.push_str(&format!(
        "\nnow      {}   {} in all",
        count(status.sessions, "session"),
        status.sessions_total
    ));
    text.push_str(&format!("   {}", count(status.bindings, "binding")));
    if status.bindings_uncommitted != 0 {
        text.push_str(&format!(" ({} not committed)", status.bindings_uncommitted));
    }
    if !status.fence.is_empty() {
        text.push_str(&format!("   fence {}", status.fence));
    }
    text.push('\n');
    if let Some(endures) = &status.endures {
        let tint = if endures.deaths == 0 {
            Tint::Warn
        } else {
            Tint::Plain
        };
        text.push_str(&format!(
            "endures  {}\n",
            painter.paint(&endures.text, tint)
        ));
    }
    if !status.upgrade.is_empty() {
        text.push_str(&format!("upgrade  {}\n", status.upgrade));
    }
    text
}

/// What is told of each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What changes from day to day. What enforces the lease is said only where it is not the same everywhere.
    Brief,
    All,
}

/// The nodes; `*` marks who holds the virtual IPs.
pub(super) fn nodes(status: &StatusReply, detail: Detail, now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "NODE", "HOLDS", "STATE", "ADMIN", "ROLE", "ADDRESS", "VERSION", "FENCE", "ID", "NOTE",
    ]);
    // A witness has none, and who does not answer says nothing.
    let mut fences = status.nodes.iter().filter(|n| n.role != "witness");
    let differ = fences.any(|n| !n.fence.is_empty() && n.fence != status.fence);
    let all = detail == Detail::All;
    for node in &status.nodes {
        let tint = match node.state.as_str() {
            "leader" | "follower" => Tint::Good,
            "learner" | "unknown" => Tint::Warn,
            _ => Tint::Bad,
        };
        let holds = !status.holder.is_empty() && node.name == status.holder;
        table.row([
            node.name.as_str().into(),
            if holds { "*" } else { "" }.into(),
            Cell::tinted(&node.state, tint),
            admin(&node.admin),
            node.role.as_str().into(),
            node.address.as_str().into(),
            node.version.as_str().into(),
            if all || differ { &node.fence } else { "" }.into(),
            Cell::tinted(if all { &node.id } else { "" }, Tint::Quiet),
            stalled(node, now_ms).into(),
        ]);
    }
    table
}

/// When the machine of a node last ran nothing: `stalled 2.0 s, 3m ago (2 times)`.
fn stalled(node: &NodeStatus, now_ms: u64) -> String {
    if node.stalls == 0 {
        return String::new();
    }
    let seconds = node.stalled_ms as f64 / 1000.0;
    let ago = ago(node.stalled_at_ms, now_ms);
    let times = match node.stalls {
        1 => String::new(),
        n => format!(" ({n} times)"),
    };
    format!("stalled {seconds:.1} s, {ago}{times}")
}

/// The servers, in the words of HAProxy's stats page.
fn servers(status: &StatusReply, now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "SERVER", "STATUS", "ADMIN", ">CUR", ">TOTAL", ">QUEUE", ">WGHT", ">IN", ">OUT", ">ERR",
        "LASTCHG", "CHECK", "ADDRESS", "NODE", "NOTE",
    ]);
    let any = |count: u64| {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    for s in &status.servers {
        table.row([
            s.path().into(),
            Cell::tinted(&s.status, server_tint(&s.status)),
            admin(&s.admin),
            s.sessions.into(),
            s.sessions_total.into(),
            any(s.queued).into(),
            u64::from(s.weight).into(),
            bytes(s.bytes_in).into(),
            bytes(s.bytes_out).into(),
            any(s.connect_errors).into(),
            ago(s.since_ms, now_ms).into(),
            s.check.as_str().into(),
            s.address.as_str().into(),
            s.node.as_str().into(),
            note_of(s, now_ms).into(),
        ]);
    }
    table
}

/// What an operator should know besides the numbers.
fn note_of(server: &ServerStatus, now_ms: u64) -> String {
    let mut notes = Vec::new();
    if server.backup {
        notes.push("backup".to_string());
    }
    if server.deadline_ms > now_ms {
        let left = span(server.deadline_ms - now_ms);
        notes.push(match server.sessions {
            0 => format!("drain ends within {left}"),
            _ => format!("cut in {left}"),
        });
    }
    if !server.reason.is_empty() {
        notes.push(server.reason.clone());
    }
    notes.join(", ")
}

fn frontends(status: &StatusReply) -> Table {
    let mut table = Table::new(&[
        "FRONTEND",
        "STATUS",
        ">CUR",
        ">MAX",
        ">TOTAL",
        "VIRTUAL IP",
        "LISTENERS",
        "BACKEND",
    ]);
    for f in &status.frontends {
        let tint = if f.status == "OPEN" {
            Tint::Good
        } else {
            Tint::Bad
        };
        let limit = if f.maxconn == 0 {
            String::new()
        } else {
            f.maxconn.to_string()
        };
        table.row([
            f.name.as_str().into(),
            Cell::tinted(&f.status, tint),
            f.sessions.into(),
            limit.into(),
            f.sessions_total.into(),
            f.virtual_ip.as_str().into(),
            f.listeners.as_str().into(),
            f.backend.as_str().into(),
        ]);
    }
    table
}

/// An administrative state: only what an operator changed stands out.
fn admin(state: &str) -> Cell {
    Cell::tinted(
        state,
        if state == "ready" {
            Tint::Plain
        } else {
            Tint::Held
        },
    )
}
