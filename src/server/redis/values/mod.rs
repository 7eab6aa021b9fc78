//! Strings, hashes and lists, in memory, beside the streams of a temporary server.
//!
//! Programs that write a log as a stream often keep a state marker or a list beside it; their tests run
//! against `--ephemeral` and [`crate::testing`]. A durable server has no [`ValueStore`] and serves none of
//! these commands: it would lose the values at its end.
//!
//! - `data` holds the values, `store` all of them by key.
//! - `list` defines the commands; `execute` runs them, and those on keys of any type.
//! - `strings`, `set`, `numbers`, `hashes`, `hash_scan`, `lists`, `list_items`, `list_moves` and `keys`
//!   implement them, with the replies of Redis.
//!
//! All these commands, and those on keys of any type, run on the journal's writer: MULTI, WATCH and blocked
//! clients work as for streams. A stream command asks the store, through [`ForeignKeys`], whether a key has
//! another type.

mod data;
mod execute;
mod hash_scan;
mod hashes;
mod keys;
mod list;
mod list_items;
mod list_moves;
mod lists;
mod numbers;
mod set;
mod store;
mod strings;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::commands::keys::KeyWriter;
use super::commands::{CommandError, CommandResult, ids};
use crate::auth::Caller;
use crate::model::{Entry, EntryId, Timestamp};
use crate::tasks::keys::{
    Database, ForeignKeys, IdRange, JournalError, KeyDescription, KeyMetadata, KeyReader, Transaction,
};
use crate::wire::resp::Reply;
use data::{HashValue, KeyType, ListValue, StringValue, ValueData};
use store::{StoredValue, Values};

pub(super) use execute::{execute, needs_values};
pub(super) use list::{HASHES, KEYS, LISTS, STRINGS};

const WRONG_TYPE: CommandError = CommandError::Journal(JournalError::WrongType);

/// The values of a temporary server.
#[derive(Debug)]
pub(super) struct ValueStore {
    /// Locked while one command runs.
    values: Mutex<Values>,
    /// Memory above which commands that may use more are rejected.
    bytes_max: u64,
}

/// The values and the streams, for one command.
pub(super) struct ValueContext<'a, 'w> {
    store: &'a Arc<ValueStore>,
    values: MutexGuard<'a, Values>,
    keys: &'a mut Transaction<'w>,
    caller: Option<&'a Caller>,
}

impl ValueStore {
    /// Creates an empty store.
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { values: Mutex::default(), bytes_max })
    }

    /// Reports whether the values may grow by this many bytes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        (self.values.lock().bytes() + bytes) as u64 <= self.bytes_max
    }

    /// Reports whether a key of the first database has a value now.
    pub(super) fn holds_now(&self, key: &[u8]) -> bool {
        self.values.lock().get(Database::default(), key).is_some()
    }

    /// Removes expired values, and marks their keys as changed.
    pub(super) fn expire_due(&self, keys: &mut Transaction<'_>) {
        expire_due(&mut self.values.lock(), keys);
    }

    /// Runs a command on the values and the streams that the caller sees.
    pub(super) fn run<T>(
        self: &Arc<Self>,
        keys: &mut Transaction<'_>,
        caller: Option<&Caller>,
        run: impl FnOnce(&mut ValueContext<'_, '_>) -> T,
    ) -> T {
        // The store is locked here, and knows the type of a key itself.
        keys.set_foreign(None);
        let mut values = self.values.lock();
        expire_due(&mut values, keys);
        run(&mut ValueContext { store: self, values, keys, caller: caller.filter(|caller| !caller.sees_all()) })
    }
}

fn expire_due(values: &mut Values, keys: &mut Transaction<'_>) {
    let (now, selected) = (keys.now().as_millis(), keys.database());
    while let Some((database, key)) = values.pop_expired(now) {
        keys.select(database);
        keys.mark_changed(&key);
    }
    keys.select(selected);
}

impl ForeignKeys for ValueStore {
    fn holds(&self, database: Database, key: &[u8], now: Timestamp) -> bool {
        let values = self.values.lock();
        let value = values.get(database, key);
        value.is_some_and(|value| value.expires.is_none_or(|at| at > now.as_millis()))
    }
}

impl ValueContext<'_, '_> {
    /// Returns the selected database.
    fn selected(&self) -> Database {
        self.keys.database()
    }

    fn now_ms(&self) -> u64 {
        self.keys.now().as_millis()
    }

    fn sees(&self, key: &[u8]) -> bool {
        self.caller.is_none_or(|caller| caller.sees_key(&self.keys.database().stored_name(key)))
    }

    /// Returns the value of a key of the selected database.
    fn value(&self, key: &[u8]) -> Option<&StoredValue> {
        self.values.get(self.keys.database(), key)
    }

    /// Reports whether a key exists with this type. Fails if it has another one.
    fn exists_as(&mut self, key: &[u8], kind: KeyType) -> CommandResult<bool> {
        match self.value(key).map(|value| value.data.kind()) {
            Some(known) if known == kind => Ok(true),
            Some(_) => Err(WRONG_TYPE),
            None if self.keys.metadata(key)?.is_some() => Err(WRONG_TYPE),
            None => Ok(false),
        }
    }

    /// Reports whether a key exists and is a list.
    fn holds_list(&self, key: &[u8]) -> bool {
        self.value(key).is_some_and(|value| value.data.kind() == KeyType::List)
    }

    /// Returns the string of a key.
    fn string(&mut self, key: &[u8]) -> CommandResult<Option<&[u8]>> {
        self.exists_as(key, KeyType::String)?;
        Ok(self.value(key).and_then(|value| match &value.data {
            ValueData::String(string) => Some(&string.text[..]),
            _ => None,
        }))
    }

    /// Returns the hash of a key.
    fn hash(&mut self, key: &[u8]) -> CommandResult<Option<&HashValue>> {
        self.exists_as(key, KeyType::Hash)?;
        Ok(self.value(key).and_then(|value| match &value.data {
            ValueData::Hash(hash) => Some(hash),
            _ => None,
        }))
    }

    /// Returns the list of a key.
    fn list(&mut self, key: &[u8]) -> CommandResult<Option<&ListValue>> {
        self.exists_as(key, KeyType::List)?;
        Ok(self.value(key).and_then(|value| match &value.data {
            ValueData::List(list) => Some(list),
            _ => None,
        }))
    }

    /// Sets a key to a string, whatever it was.
    fn set_string(&mut self, key: &[u8], text: Vec<u8>, expires: Option<u64>) -> CommandResult {
        // A stream of this name is replaced.
        self.keys.remove(key)?;
        let data = ValueData::String(StringValue { text, edited: false });
        let database = self.keys.database();
        self.values.insert(database, key, StoredValue { data, expires });
        self.touch(key);
        Ok(())
    }

    /// Changes a hash, which is created if it is missing and removed if it is then empty.
    fn change_hash<T>(&mut self, key: &[u8], change: impl FnOnce(&mut HashValue) -> T) -> CommandResult<T> {
        self.change(key, KeyType::Hash, |data| match data {
            ValueData::Hash(hash) => Some(change(hash)),
            _ => None,
        })
    }

    /// Changes a list, which is created if it is missing and removed if it is then empty.
    fn change_list<T>(&mut self, key: &[u8], change: impl FnOnce(&mut ListValue) -> T) -> CommandResult<T> {
        self.change(key, KeyType::List, |data| match data {
            ValueData::List(list) => Some(change(list)),
            _ => None,
        })
    }

    fn change<T>(
        &mut self,
        key: &[u8],
        kind: KeyType,
        change: impl FnOnce(&mut ValueData) -> Option<T>,
    ) -> CommandResult<T> {
        let database = self.keys.database();
        if !self.exists_as(key, kind)? {
            self.values.insert(database, key, StoredValue { data: ValueData::new(kind), expires: None });
        }
        self.values.change(database, key, change).flatten().ok_or(WRONG_TYPE)
    }

    /// Marks a key as changed, for WATCH and blocked clients.
    fn touch(&mut self, key: &[u8]) {
        self.keys.mark_changed(key);
    }

    /// Fails if the values may not grow by this many bytes.
    fn check_room(&self, bytes: usize) -> CommandResult {
        if (self.values.bytes() + bytes) as u64 <= self.store.bytes_max {
            Ok(())
        } else {
            Err(CommandError::OutOfMemory)
        }
    }
}

impl KeyReader for ValueContext<'_, '_> {
    fn database(&self) -> Database {
        self.keys.database()
    }

    fn select(&mut self, database: Database) {
        self.keys.select(database);
    }

    fn now(&self) -> Timestamp {
        self.keys.now()
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        if !self.sees(name) {
            return Ok(None);
        }
        match self.value(name) {
            Some(value) => {
                let expires = value.expires.map(Timestamp::from_millis);
                Ok(Some(KeyMetadata { len: 0, last_id: EntryId::MIN, expires }))
            }
            None => self.keys.metadata(name),
        }
    }

    fn describe(&mut self, name: &[u8]) -> Result<Option<KeyDescription>, JournalError> {
        if !self.sees(name) {
            return Ok(None);
        }
        match self.value(name) {
            Some(StoredValue { data, .. }) => Ok(Some(KeyDescription {
                kind: data.type_name(),
                encoding: data.encoding(),
                bytes: (name.len() + data.bytes()) as u64,
            })),
            None => self.keys.describe(name),
        }
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        if self.sees(name) { self.keys.range(name, range, each) } else { Ok(0) }
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut names = self.keys.names()?;
        names.extend(self.values.names(self.keys.database()).map(<[u8]>::to_vec));
        names.retain(|name| self.sees(name));
        Ok(names)
    }
}

impl KeyWriter for ValueContext<'_, '_> {
    fn remove(&mut self, name: &[u8]) -> Result<bool, JournalError> {
        let database = self.keys.database();
        if self.values.remove(database, name).is_none() {
            return self.keys.remove(name);
        }
        self.touch(name);
        Ok(true)
    }

    fn expire(&mut self, name: &[u8], at: Option<Timestamp>) -> Result<bool, JournalError> {
        if self.value(name).is_none() {
            return self.keys.expire(name, at);
        }
        if at.is_some_and(|at| at <= self.keys.now()) {
            return self.remove(name);
        }
        let database = self.keys.database();
        self.values.expire(database, name, at.map(Timestamp::as_millis));
        self.touch(name);
        Ok(true)
    }
}

/// Fails if a reply has become too large.
fn check_reply(reply: &Reply) -> CommandResult {
    reply.is_full().map_or(Ok(()), |max| Err(CommandError::TooLarge(max)))
}
