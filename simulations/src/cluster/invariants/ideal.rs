//! The ideal cluster beside the real one: one machine that never fails and does what it is told.
//!
//! Whatever an operator was told is done is done here; what was given and not answered may be done or not. A node
//! that begins to hold must be what this machine is: its orders, its configuration, its members.

use ha_core::command::AdminOrder;
use ha_core::id::NodeId;
use ha_core::model::AdminState;
use ha_core::state::{AdminRecord, Facts};
use std::collections::BTreeMap;

/// What can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegisterKey {
    /// What is wanted of a node.
    Node(NodeId),
    Configuration,
    /// Whether a node is a member.
    Member(NodeId),
}

/// What a register of the ideal cluster answers when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Order(AdminOrder),
    /// To [`RegisterKey::Configuration`]: as it was written.
    Text(String),
    Is(bool),
}

/// A value that changes when somebody says so.
#[derive(Debug, Default)]
struct Register {
    /// Acknowledged last, and when, in world time.
    acknowledged: Option<(Value, u64)>,
    /// Given since then and not answered: the log may come to have them or not.
    doubts: Vec<Value>,
}

impl Register {
    fn possible(&self) -> impl Iterator<Item = &Value> {
        self.acknowledged
            .iter()
            .map(|(value, _)| value)
            .chain(&self.doubts)
    }
}

/// See the module. Commands about one subject are given one after the other.
#[derive(Debug, Default)]
pub struct Ideal {
    registers: BTreeMap<RegisterKey, Register>,
}

impl Ideal {
    pub fn on_given(&mut self, subject: RegisterKey, value: Value) {
        self.registers
            .entry(subject)
            .or_default()
            .doubts
            .push(value);
    }

    /// The answer has come. A refused command changes nothing.
    pub fn on_answered(&mut self, now: u64, subject: RegisterKey, value: &Value, done: bool) {
        let register = self.registers.entry(subject).or_default();
        if !done {
            // Of two that want the same only this one.
            if let Some(at) = register.doubts.iter().rposition(|d| d == value) {
                register.doubts.remove(at);
            }
            return;
        }
        *register = Register {
            acknowledged: Some((value.clone(), now)),
            doubts: Vec::new(),
        };
        // With a member go the orders about it.
        if let (RegisterKey::Member(node), Value::Is(false)) = (subject, value) {
            self.registers.remove(&RegisterKey::Node(node));
        }
    }

    /// What may be wanted of a node now.
    pub fn orders_about(&self, node: NodeId) -> impl Iterator<Item = &AdminOrder> {
        let register = self.registers.get(&RegisterKey::Node(node));
        register
            .into_iter()
            .flat_map(Register::possible)
            .filter_map(|value| {
                if let Value::Order(order) = value {
                    Some(order)
                } else {
                    None
                }
            })
    }

    /// What is wanted of a node, without a doubt, and since when.
    pub fn order_about(&self, node: NodeId) -> Option<(&AdminOrder, u64)> {
        let register = self
            .registers
            .get(&RegisterKey::Node(node))
            .filter(|r| r.doubts.is_empty())?;
        let (Value::Order(order), since) = register.acknowledged.as_ref()? else {
            return None;
        };
        Some((order, *since))
    }

    /// Node `me` answers an operator by this.
    ///
    /// # Errors
    /// It is what was, and is not any more.
    pub fn on_read(&self, me: usize, facts: &Facts) -> Result<(), String> {
        let differs = self.on_claim(me, facts);
        differs.map_err(|why| format!("stale read, {why}"))
    }

    /// Node `me` answers from now on and knows this.
    ///
    /// # Errors
    /// Where it is not as the ideal cluster.
    pub fn on_claim(&self, me: usize, facts: &Facts) -> Result<(), String> {
        for (subject, register) in self
            .registers
            .iter()
            .filter(|(_, r)| r.acknowledged.is_some())
        {
            if !register
                .possible()
                .any(|value| is_so(facts, *subject, value))
            {
                return Err(format!(
                    "the ideal cluster: {subject:?} is {:?} there; node-{me} holds and has {}",
                    register.acknowledged,
                    found(facts, *subject)
                ));
            }
        }
        Ok(())
    }
}

fn is_so(facts: &Facts, subject: RegisterKey, value: &Value) -> bool {
    match (subject, value) {
        (RegisterKey::Node(node), Value::Order(order)) => {
            !facts.members.contains_key(&node) || carries_out(facts.node_admin.get(&node), order)
        }
        (RegisterKey::Configuration, Value::Text(text)) => facts
            .history
            .back()
            .is_some_and(|newest| newest.text == *text),
        (RegisterKey::Member(node), Value::Is(is)) => facts.members.contains_key(&node) == *is,
        _ => false,
    }
}

/// Whether that record is what becomes of the order, now or when its drain has ended.
fn carries_out(record: Option<&AdminRecord>, order: &AdminOrder) -> bool {
    let ready = AdminRecord::default();
    let record = record.unwrap_or(&ready);
    let as_ordered = record.state == order.state
        && (record.deadline == order.deadline || record.deadline.is_none());
    as_ordered || (order.state == AdminState::Drain && order.then == Some(record.state))
}

fn found(facts: &Facts, subject: RegisterKey) -> String {
    match subject {
        RegisterKey::Node(node) => format!("{:?}", facts.node_admin.get(&node)),
        RegisterKey::Configuration => format!(
            "{:?}",
            facts
                .history
                .back()
                .map(|newest| (newest.version, &newest.text))
        ),
        RegisterKey::Member(node) => facts.members.contains_key(&node).to_string(),
    }
}
