//! What an operator sees of a cluster, as machines that do one thing after the other.

use super::Model;

/// The administrative state of one node or server.
pub struct OrderOfNode;

/// The words of an administrative state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    Ready,
    Drain,
    Maint,
}

/// What is wanted, and the number of the order that said so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub word: Word,
    /// `None`: not seen yet; it is above `above`.
    pub number: Option<u64>,
    pub above: u64,
}

/// What is asked of [`OrderOfNode`].
#[derive(Clone, Debug)]
pub enum OrderOp {
    Set(Word),
    /// With what was answered.
    Read(Word, u64),
}

impl Model for OrderOfNode {
    type State = Order;
    type Op = OrderOp;
    const OVERWRITES: bool = true;

    fn first(&self) -> Order {
        Order {
            word: Word::Ready,
            number: Some(0),
            above: 0,
        }
    }

    fn step(&self, state: &Order, op: &OrderOp) -> Option<Order> {
        match *op {
            OrderOp::Set(word) => Some(Order {
                word,
                number: None,
                above: state.number.unwrap_or(state.above),
            }),
            OrderOp::Read(word, number) => {
                let fits = match state.number {
                    Some(known) => known == number,
                    None => number > state.above,
                };
                (fits && word == state.word).then_some(Order {
                    word,
                    number: Some(number),
                    above: 0,
                })
            }
        }
    }

    fn is_past(&self, state: &Order, op: &OrderOp) -> bool {
        match op {
            OrderOp::Read(_, number) => *number < state.number.unwrap_or(state.above + 1),
            OrderOp::Set(_) => false,
        }
    }

    fn observes(&self, op: &OrderOp) -> bool {
        matches!(op, OrderOp::Read(..))
    }

    fn class(&self, op: &OrderOp) -> u64 {
        match op {
            OrderOp::Set(word) => *word as u64,
            OrderOp::Read(..) => 9,
        }
    }
}

/// The configuration: a number that grows by one, and what each version says.
pub struct Versions {
    /// What version 1 says.
    pub first: u32,
}

/// The newest versions that are kept for a way back, the current one last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configured {
    pub version: u64,
    pub kept: Vec<u32>,
}

/// What is asked of [`Versions`].
#[derive(Clone, Debug)]
pub enum ConfigOp {
    /// A configuration that says this; with the version that was answered.
    Apply(u32, Option<u64>),
    /// The one before the current.
    RollBack(Option<u64>),
    /// Which version is in force.
    Version(u64),
    /// The same, and what it says.
    Says(u64, u32),
}

/// Versions that can be gone back to, the current one included.
const KEPT: usize = 11;

impl Configured {
    fn with(&self, says: u32) -> Configured {
        let mut next = self.clone();
        // The same again is no new version.
        if next.kept.last() != Some(&says) {
            next.again(says);
        }
        next
    }

    fn again(&mut self, says: u32) {
        self.version += 1;
        self.kept.push(says);
        if self.kept.len() > KEPT {
            self.kept.remove(0);
        }
    }
}

impl Model for Versions {
    type State = Configured;
    type Op = ConfigOp;
    const OVERWRITES: bool = false;

    fn first(&self) -> Configured {
        Configured {
            version: 1,
            kept: vec![self.first],
        }
    }

    fn step(&self, state: &Configured, op: &ConfigOp) -> Option<Configured> {
        let now = state.kept.last();
        match *op {
            ConfigOp::Apply(says, version) => {
                let next = state.with(says);
                version.is_none_or(|v| v == next.version).then_some(next)
            }
            ConfigOp::RollBack(version) => {
                let before = *state.kept.iter().rev().nth(1)?;
                let mut next = state.clone();
                next.again(before);
                version.is_none_or(|v| v == next.version).then_some(next)
            }
            ConfigOp::Version(version) => (version == state.version).then(|| state.clone()),
            ConfigOp::Says(version, says) => {
                (version == state.version && now == Some(&says)).then(|| state.clone())
            }
        }
    }

    fn is_past(&self, state: &Configured, op: &ConfigOp) -> bool {
        match *op {
            ConfigOp::Apply(_, Some(v)) | ConfigOp::Version(v) | ConfigOp::Says(v, _) => {
                v < state.version
            }
            ConfigOp::RollBack(Some(v)) => v <= state.version,
            ConfigOp::Apply(_, None) | ConfigOp::RollBack(None) => false,
        }
    }

    fn observes(&self, _: &ConfigOp) -> bool {
        true
    }

    fn class(&self, op: &ConfigOp) -> u64 {
        match op {
            ConfigOp::Apply(says, _) => u64::from(*says),
            ConfigOp::RollBack(_) => u64::MAX,
            ConfigOp::Version(_) | ConfigOp::Says(..) => u64::MAX - 1,
        }
    }
}
