//! The bindings themselves: a tree of fixed shape whose parts are shared with readers, so that a change copies a path
//! of four small nodes and one leaf, however many bindings there are.
//!
//! ```text
//!   root [16] > node [16] > node [16] > node [16] > leaf: a few bindings, sorted      65 536 leaves, made when needed
//! ```
//!
//! Where a binding is follows from its key alone, so every node has them in the same order. What nobody else
//! shares is changed in place.

use super::{StickEntry, StickKey};
use std::net::IpAddr;
use std::sync::Arc;

/// Children of a node.
const FAN: usize = 16;
/// Bits of a leaf's number that one node looks at.
const BITS: u32 = FAN.trailing_zeros();

type Leaf = Vec<(StickKey, StickEntry)>;
type Row<T> = [Option<Arc<T>>; FAN];

#[derive(Clone, Debug, Default)]
pub(super) struct Leaves(Node<Node<Node<Node<Leaf>>>>);

#[derive(Clone, Debug)]
struct Node<T>(Row<T>);

/// By what is in them: leaves that were emptied are still there.
impl PartialEq for Leaves {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Leaves {}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node(std::array::from_fn(|_| None))
    }
}

impl<T: Clone + Default> Node<T> {
    fn child(&self, leaf: u16, level: u32) -> Option<&T> {
        self.0[index(leaf, level)].as_deref()
    }

    fn child_mut(&mut self, leaf: u16, level: u32) -> &mut T {
        Arc::make_mut(self.0[index(leaf, level)].get_or_insert_default())
    }

    fn children(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().map(Arc::as_ref)
    }

    fn children_mut(&mut self) -> impl Iterator<Item = &mut Arc<T>> {
        self.0.iter_mut().flatten()
    }
}

/// Which child of a node at `level`, from 3 at the root to 0 above the leaves.
fn index(leaf: u16, level: u32) -> usize {
    usize::from(leaf >> (level * BITS)) % FAN
}

impl Leaves {
    pub(super) fn get(&self, key: &StickKey) -> Option<&StickEntry> {
        let at = leaf_of(key);
        let leaf = self.0.child(at, 3)?.child(at, 2)?.child(at, 1)?;
        let leaf = leaf.child(at, 0)?;
        Some(&leaf[position(leaf, key).ok()?].1)
    }

    /// Puts an entry in; the one that was there before.
    pub(super) fn insert(&mut self, key: StickKey, entry: StickEntry) -> Option<StickEntry> {
        let leaf = self.leaf_mut(&key);
        match position(leaf, &key) {
            Ok(at) => Some(std::mem::replace(&mut leaf[at].1, entry)),
            Err(at) => {
                // Leaves are many and stay small: room for more in each would be a third of the table.
                leaf.reserve_exact(1);
                leaf.insert(at, (key, entry));
                None
            }
        }
    }

    /// Takes out an entry, which must be there: else a path is copied for nothing.
    pub(super) fn remove(&mut self, key: &StickKey) -> Option<StickEntry> {
        let leaf = self.leaf_mut(key);
        let at = position(leaf, key).ok()?;
        let (_, entry) = leaf.remove(at);
        leaf.shrink_to_fit();
        Some(entry)
    }

    /// Keeps the entries for which `kept` holds. Leaves in which all are kept stay shared with readers.
    pub(super) fn retain(&mut self, kept: impl Fn(&StickKey, &StickEntry) -> bool) {
        let all_kept = |leaf: &Leaf| leaf.iter().all(|(key, entry)| kept(key, entry));
        for one in self.0.children_mut() {
            for two in Arc::make_mut(one).children_mut() {
                for three in Arc::make_mut(two).children_mut() {
                    for leaf in Arc::make_mut(three).children_mut() {
                        if !all_kept(leaf) {
                            let few = leaf.iter().filter(|(key, entry)| kept(key, entry));
                            *leaf = Arc::new(few.cloned().collect());
                        }
                    }
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&StickKey, &StickEntry)> {
        let leaves = self.0.children().flat_map(Node::children);
        let leaves = leaves.flat_map(Node::children).flat_map(Node::children);
        leaves.flatten().map(|(key, entry)| (key, entry))
    }

    fn leaf_mut(&mut self, key: &StickKey) -> &mut Leaf {
        let at = leaf_of(key);
        let node = self.0.child_mut(at, 3).child_mut(at, 2);
        node.child_mut(at, 1).child_mut(at, 0)
    }
}

fn position(leaf: &Leaf, key: &StickKey) -> Result<usize, usize> {
    leaf.binary_search_by(|(k, _)| k.cmp(key))
}

fn leaf_of(key: &StickKey) -> u16 {
    let bits = match key.client {
        IpAddr::V4(a) => u64::from(u32::from(a)),
        IpAddr::V6(a) => (u128::from(a) ^ (u128::from(a) >> 64)) as u64,
    };
    // What two nodes write down must be the same: this is for ever.
    (crate::balance::mix(bits) as u16).swap_bytes()
}
