//! All values, by database and key, with their expiration times and the memory that they use.

use std::collections::{BTreeSet, HashMap};

use super::data::ValueData;
use crate::tasks::keys::Database;

/// Bytes counted for each key beside its name and value.
const KEY_BYTES: usize = 96;

/// The value of a key, and when it expires in milliseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct StoredValue {
    pub(super) data: ValueData,
    pub(super) expires: Option<u64>,
}

/// All values.
#[derive(Debug, Default)]
pub(super) struct Values {
    databases: [HashMap<Box<[u8]>, StoredValue>; Database::COUNT as usize],
    /// The keys that expire, by time.
    expiring: BTreeSet<(u64, Database, Box<[u8]>)>,
    bytes: usize,
}

impl Values {
    /// Returns the memory that all values use, approximately.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn keys(&self, database: Database) -> Option<&HashMap<Box<[u8]>, StoredValue>> {
        self.databases.get(usize::from(database.number()))
    }

    fn keys_mut(&mut self, database: Database) -> Option<&mut HashMap<Box<[u8]>, StoredValue>> {
        self.databases.get_mut(usize::from(database.number()))
    }

    pub(super) fn get(&self, database: Database, key: &[u8]) -> Option<&StoredValue> {
        self.keys(database)?.get(key)
    }

    /// Returns the names of a database's keys.
    pub(super) fn names(&self, database: Database) -> impl Iterator<Item = &[u8]> {
        self.keys(database).into_iter().flat_map(HashMap::keys).map(|name| &name[..])
    }

    /// Sets the value of a key.
    pub(super) fn insert(&mut self, database: Database, key: &[u8], value: StoredValue) {
        self.remove(database, key);
        self.bytes += KEY_BYTES + key.len() + value.data.bytes();
        if let Some(at) = value.expires {
            self.expiring.insert((at, database, key.into()));
        }
        if let Some(keys) = self.keys_mut(database) {
            keys.insert(key.into(), value);
        }
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&mut self, database: Database, key: &[u8]) -> Option<StoredValue> {
        let (name, value) = self.keys_mut(database)?.remove_entry(key)?;
        self.bytes -= KEY_BYTES + key.len() + value.data.bytes();
        if let Some(at) = value.expires {
            self.expiring.remove(&(at, database, name));
        }
        Some(value)
    }

    /// Changes the value of a key if it exists, and removes it if the collection is then empty.
    pub(super) fn change<T>(
        &mut self,
        database: Database,
        key: &[u8],
        change: impl FnOnce(&mut ValueData) -> T,
    ) -> Option<T> {
        let value = self.keys_mut(database)?.get_mut(key)?;
        let before = value.data.bytes();
        let result = change(&mut value.data);
        let (after, is_empty) = (value.data.bytes(), value.data.is_empty_collection());
        self.bytes = self.bytes + after - before;
        if is_empty {
            self.remove(database, key);
        }
        Some(result)
    }

    /// Sets or clears the expiration time of a key. Returns `false` if the key does not exist.
    pub(super) fn expire(&mut self, database: Database, key: &[u8], at: Option<u64>) -> bool {
        let Some(value) = self.keys_mut(database).and_then(|keys| keys.get_mut(key)) else { return false };
        let before = std::mem::replace(&mut value.expires, at);
        if let Some(before) = before {
            self.expiring.remove(&(before, database, key.into()));
        }
        if let Some(at) = at {
            self.expiring.insert((at, database, key.into()));
        }
        true
    }

    /// Removes a key that has expired and returns its database and name, or `None` if there is none.
    pub(super) fn pop_expired(&mut self, now_ms: u64) -> Option<(Database, Box<[u8]>)> {
        let (at, database, key) = self.expiring.first()?;
        if *at > now_ms {
            return None;
        }
        let (database, key) = (*database, key.clone());
        self.remove(database, &key);
        Some((database, key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::{KeyType, StringValue};
    use super::*;

    fn text(text: &[u8]) -> ValueData {
        ValueData::String(StringValue { text: text.to_vec(), edited: false })
    }

    #[test]
    fn memory_returns_to_zero_after_every_kind_of_change() {
        let (mut values, database) = (Values::default(), Database::default());
        values.insert(database, b"s", StoredValue { data: text(b"abc"), expires: Some(7) });
        values.insert(database, b"s", StoredValue { data: text(b"longer text"), expires: Some(9) });
        values.insert(database, b"h", StoredValue { data: ValueData::new(KeyType::Hash), expires: None });
        values.insert(database, b"l", StoredValue { data: ValueData::new(KeyType::List), expires: None });
        for number in 0..2_000 {
            values.change(database, b"h", |data| {
                let ValueData::Hash(hash) = data else { panic!("a hash") };
                hash.set(format!("f{}", number % 700).as_bytes(), format!("{number}").into_bytes());
            });
            values.change(database, b"l", |data| {
                let ValueData::List(list) = data else { panic!("a list") };
                list.push(number % 2 == 0, format!("{number}").into_bytes());
                list.replace(0, b"replaced".to_vec());
            });
        }
        assert!(values.bytes() > 50_000, "{}", values.bytes());
        assert_eq!(values.pop_expired(8), None);
        assert_eq!(values.pop_expired(9), Some((database, b"s"[..].into())));
        values.change(database, b"l", |data| {
            let ValueData::List(list) = data else { panic!("a list") };
            assert!(list.remove(b"replaced", 2, true) <= 2);
            list.keep(10, 20);
            while list.pop(true).is_some() {}
        });
        assert!(values.get(database, b"l").is_none(), "an empty list is removed");
        values.change(database, b"h", |data| {
            let ValueData::Hash(hash) = data else { panic!("a hash") };
            assert!((0..700).all(|number| hash.remove(format!("f{number}").as_bytes())));
        });
        assert_eq!((values.bytes(), values.names(database).count()), (0, 0));
    }
}
