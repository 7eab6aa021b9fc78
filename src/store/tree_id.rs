//! Names of the store's trees, as the log of commits encodes them.

/// A tree of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum TreeId {
    Blocks = 0,
    Streams = 1,
    Tasks = 2,
    Groups = 3,
    Meta = 4,
}

/// Number of trees.
pub(super) const TREE_COUNT: usize = 5;

impl TreeId {
    /// Every tree, ordered by its byte.
    pub(super) const ALL: [TreeId; TREE_COUNT] =
        [TreeId::Blocks, TreeId::Streams, TreeId::Tasks, TreeId::Groups, TreeId::Meta];

    /// Returns the tree that this byte denotes in a frame of the log.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| *tree as u8 == byte)
    }
}
