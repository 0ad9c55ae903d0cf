//! What others wrote into an event is cut where it is too long. Counted is what is kept, not the line that is made of
//! it: this is done in the state, and agents of two versions may have other words around the same parts.

use super::{Target, TrustChange, What};

impl What {
    /// The same with at most `max` bytes of what others wrote, which is cut and marked ` ...`.
    pub(super) fn bounded(mut self, max: usize) -> What {
        let mut bytes = 0;
        self.each_part(&mut |part| bytes += part.len());
        let mut over = bytes.saturating_sub(max);
        if over > 0 {
            self.each_part(&mut |part| match part {
                Part::Text(text) => cut(text, &mut over),
                Part::List(list) => cut_list(list, &mut over),
            });
        }
        self
    }

    /// What people and configurations wrote, in the order in which it may be cut.
    fn each_part(&mut self, f: &mut dyn FnMut(Part<'_>)) {
        match self {
            What::AdminSet { target, reason, .. } => {
                f(Part::Text(reason));
                f(target.part());
            }
            What::DrainEnded { target, .. } => f(target.part()),
            What::LockTaken { purpose } => f(Part::Text(purpose)),
            What::ServerWentUp { server, why } | What::ServerWentDown { server, why } => {
                f(Part::Text(why));
                f(Part::Text(server));
            }
            What::HolderChanged { node, reason, .. } => {
                f(Part::Text(reason));
                f(Part::Text(node));
            }
            What::MemberAdded { node, .. }
            | What::MemberAdmitted { node, .. }
            | What::MemberMoved { node, .. }
            | What::Recovered { node, .. }
            | What::MemberRemoved { node } => f(Part::Text(node)),
            What::MemberDescribed {
                node,
                agent_version,
                before,
                ..
            } => {
                f(Part::Text(before));
                f(Part::Text(agent_version));
                f(Part::Text(node));
            }
            What::Trust(change) => f(Part::Text(change.name())),
            What::Note { kind, text } => {
                f(Part::Text(text));
                f(Part::Text(kind));
            }
            What::ConfigApplied { .. }
            | What::LockReturned
            | What::Restored
            | What::VersionActivated { .. } => {}
        }
    }
}

impl Target {
    fn part(&mut self) -> Part<'_> {
        match self {
            Target::Node(name) => Part::Text(name),
            Target::Servers(names) => Part::List(names),
        }
    }
}

impl TrustChange {
    fn name(&mut self) -> &mut String {
        match self {
            TrustChange::AuthorityFounded(name)
            | TrustChange::AuthorityIntroduced(name)
            | TrustChange::AuthoritySigns(name)
            | TrustChange::AuthorityRetired(name)
            | TrustChange::TokenMade { id: name, .. }
            | TrustChange::TokenRevoked(name)
            | TrustChange::UserAdded { name, .. }
            | TrustChange::UserRemoved(name) => name,
        }
    }
}

enum Part<'a> {
    Text(&'a mut String),
    List(&'a mut Vec<String>),
}

impl Part<'_> {
    /// In bytes; the items of a list stand two apart.
    fn len(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::List(list) => list.iter().map(|item| item.len() + 2).sum(),
        }
    }
}

/// Takes up to `over` bytes off the end, and what it took off `over`.
fn cut(text: &mut String, over: &mut usize) {
    if *over == 0 || text.is_empty() {
        return;
    }
    let end = (0..=text.len().saturating_sub(*over))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    *over = over.saturating_sub(text.len() - end);
    text.truncate(end);
    text.push_str(" ...");
}

/// The same from the end of a list whose items stand two bytes apart.
fn cut_list(list: &mut Vec<String>, over: &mut usize) {
    while list.len() > 1
        && let Some(item) = list.pop_if(|last| last.len() + 2 <= *over)
    {
        *over -= item.len() + 2;
        if *over == 0 {
            list.push("...".to_owned());
            return;
        }
    }
    if let Some(last) = list.last_mut() {
        cut(last, over);
    }
}
