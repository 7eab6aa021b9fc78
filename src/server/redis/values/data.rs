//! The values of keys: a string, a hash or a list, with Redis' encodings and the memory that they use.

use std::collections::{HashMap, VecDeque};

/// Bytes counted for each element of a list, and twice for each field of a hash, beside its text.
const ELEMENT_BYTES: usize = 24;
/// Longest string that Redis stores inside its object (`embstr`).
const EMBEDDED_BYTES_MAX: usize = 44;
/// Fields up to which a hash keeps their order (Valkey: `hash-max-listpack-entries`).
const ORDERED_FIELDS_MAX: usize = 512;
/// Bytes of a field or a value up to which a hash keeps the order (Valkey: `hash-max-listpack-value`).
const ORDERED_TEXT_MAX: usize = 64;
/// Bytes up to which a list is one node (Valkey: `list-max-listpack-size`).
const LIST_NODE_BYTES: usize = 8 * 1024;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    String,
    Hash,
    List,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub(super) enum ValueData {
    String(StringValue),
    Hash(HashValue),
    List(ListValue),
}

/// A string.
#[derive(Clone, Debug, Default)]
pub(super) struct StringValue {
    pub(super) text: Vec<u8>,
    /// Set once it was changed in place, which changes its encoding.
    pub(super) edited: bool,
}

/// A hash. While it is small its fields keep the order in which they were added.
#[derive(Clone, Debug)]
pub(super) struct HashValue {
    fields: HashFields,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum HashFields {
    Ordered(Vec<(Vec<u8>, Vec<u8>)>),
    Large(HashMap<Vec<u8>, Vec<u8>>),
}

/// A list.
#[derive(Clone, Debug, Default)]
pub(super) struct ListValue {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl ValueData {
    /// Creates an empty value.
    pub(super) fn new(kind: KeyType) -> Self {
        match kind {
            KeyType::String => Self::String(StringValue::default()),
            KeyType::Hash => Self::Hash(HashValue::default()),
            KeyType::List => Self::List(ListValue::default()),
        }
    }

    pub(super) fn kind(&self) -> KeyType {
        match self {
            Self::String(_) => KeyType::String,
            Self::Hash(_) => KeyType::Hash,
            Self::List(_) => KeyType::List,
        }
    }

    /// Returns the name that TYPE reports.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
        }
    }

    /// Returns the name that OBJECT ENCODING reports.
    pub(super) fn encoding(&self) -> &'static str {
        match self {
            Self::String(value) if !value.edited && super::ids::plain_integer(&value.text).is_some() => "int",
            Self::String(value) if !value.edited && value.text.len() <= EMBEDDED_BYTES_MAX => "embstr",
            Self::String(_) => "raw",
            Self::Hash(HashValue { fields: HashFields::Ordered(_), .. }) => "listpack",
            Self::Hash(_) => "hashtable",
            Self::List(value) if value.bytes <= LIST_NODE_BYTES => "listpack",
            Self::List(_) => "quicklist",
        }
    }

    /// Returns the memory that the value uses, approximately.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::String(value) => value.text.len(),
            Self::Hash(value) => value.bytes,
            Self::List(value) => value.bytes,
        }
    }

    /// Reports whether this is a collection without elements, which Redis removes.
    pub(super) fn is_empty_collection(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::Hash(value) => value.len() == 0,
            Self::List(value) => value.len() == 0,
        }
    }
}

impl Default for HashValue {
    fn default() -> Self {
        Self { fields: HashFields::Ordered(Vec::new()), bytes: 0 }
    }
}

impl HashValue {
    pub(super) fn len(&self) -> usize {
        match &self.fields {
            HashFields::Ordered(fields) => fields.len(),
            HashFields::Large(fields) => fields.len(),
        }
    }

    /// Reports whether the fields keep their order, and HSCAN returns them at once.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.fields, HashFields::Ordered(_))
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.fields {
            HashFields::Ordered(fields) => fields.iter().find(|(name, _)| name == field).map(|(_, value)| &value[..]),
            HashFields::Large(fields) => fields.get(field).map(|value| &value[..]),
        }
    }

    /// Returns the fields with their values.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match &self.fields {
            HashFields::Ordered(fields) => Box::new(fields.iter().map(|(name, value)| (&name[..], &value[..]))),
            HashFields::Large(fields) => Box::new(fields.iter().map(|(name, value)| (&name[..], &value[..]))),
        }
    }

    /// Sets a field. Returns `true` if it is new.
    pub(super) fn set(&mut self, field: &[u8], value: Vec<u8>) -> bool {
        self.bytes += value.len();
        if let HashFields::Ordered(fields) = &mut self.fields {
            let is_long = field.len() > ORDERED_TEXT_MAX || value.len() > ORDERED_TEXT_MAX;
            let known = fields.iter().any(|(name, _)| name == field);
            if is_long || (!known && fields.len() == ORDERED_FIELDS_MAX) {
                self.fields = HashFields::Large(std::mem::take(fields).into_iter().collect());
            }
        }
        let replaced = match &mut self.fields {
            HashFields::Ordered(fields) => match fields.iter_mut().find(|(name, _)| name == field) {
                Some((_, known)) => Some(std::mem::replace(known, value)),
                None => {
                    fields.push((field.to_vec(), value));
                    None
                }
            },
            HashFields::Large(fields) => fields.insert(field.to_vec(), value),
        };
        match &replaced {
            Some(replaced) => self.bytes -= replaced.len(),
            None => self.bytes += field.len() + 2 * ELEMENT_BYTES,
        }
        replaced.is_none()
    }

    /// Removes a field. Returns `true` if it existed.
    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        let removed = match &mut self.fields {
            HashFields::Ordered(fields) => {
                fields.iter().position(|(name, _)| name == field).map(|at| fields.remove(at).1)
            }
            HashFields::Large(fields) => fields.remove(field),
        };
        if let Some(removed) = &removed {
            self.bytes -= removed.len() + field.len() + 2 * ELEMENT_BYTES;
        }
        removed.is_some()
    }
}

impl ListValue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        self.items.get(at).map(|item| &item[..])
    }

    /// Returns the items from first to last.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.items.iter().map(|item| &item[..])
    }

    /// Inserts an item at an index up to the length.
    pub(super) fn insert(&mut self, at: usize, item: Vec<u8>) {
        self.bytes += item.len() + ELEMENT_BYTES;
        self.items.insert(at, item);
    }

    /// Inserts an item at an end.
    pub(super) fn push(&mut self, first: bool, item: Vec<u8>) {
        self.insert(if first { 0 } else { self.items.len() }, item);
    }

    /// Removes the item at an end.
    pub(super) fn pop(&mut self, first: bool) -> Option<Vec<u8>> {
        let item = if first { self.items.pop_front() } else { self.items.pop_back() }?;
        self.bytes -= item.len() + ELEMENT_BYTES;
        Some(item)
    }

    /// Replaces the item at this index, which must exist.
    pub(super) fn replace(&mut self, at: usize, item: Vec<u8>) {
        if let Some(known) = self.items.get_mut(at) {
            self.bytes = self.bytes + item.len() - known.len();
            *known = item;
        }
    }

    /// Keeps the items in a range of indexes.
    pub(super) fn keep(&mut self, from: usize, to: usize) {
        self.items.truncate(to);
        self.items.drain(..from.min(self.items.len()));
        self.count_bytes();
    }

    /// Removes the items equal to `item`, at most `count`, from the first or from the last. Returns their
    /// number.
    pub(super) fn remove(&mut self, item: &[u8], count: usize, from_last: bool) -> usize {
        let equal = |at: &usize| self.items.get(*at).is_some_and(|known| known == item);
        let indexes = 0..self.items.len();
        let found: Vec<usize> = match from_last {
            true => indexes.rev().filter(equal).take(count).collect(),
            false => indexes.filter(equal).take(count).collect(),
        };
        let (mut at, least, greatest) = (0, found.iter().min().copied(), found.iter().max().copied());
        self.items.retain(|known| {
            let within = Some(at) >= least && Some(at) <= greatest;
            at += 1;
            !(within && least.is_some() && known == item)
        });
        self.count_bytes();
        found.len()
    }

    fn count_bytes(&mut self) {
        self.bytes = self.items.iter().map(|item| item.len() + ELEMENT_BYTES).sum();
    }
}
