//! The databases of the Redis port: name spaces of streams, part of the name under which a stream is stored.
//!
//! A stream of database 0 is stored under its own name, as in stores that had only this database. Tasks and
//! runs are streams of database 0. A name of another database begins with [`MARK`] and the database's number.

use std::borrow::Cow;

/// Start of a stored name that names its database.
const MARK: &[u8] = b"\0tasktail:db:";

/// A database: a name space of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database(u8);

impl Database {
    /// Number of databases.
    pub const COUNT: u8 = 16;

    /// Returns the database with this number, if there is one.
    pub fn new(number: i64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number < Self::COUNT).map(Self)
    }

    /// Returns all databases.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the number of the database.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns the name under which a key of this database is stored.
    pub fn stored_name(self, key: &[u8]) -> Cow<'_, [u8]> {
        if self.0 == 0 && !key.starts_with(MARK) {
            return Cow::Borrowed(key);
        }
        Cow::Owned([MARK, &[self.0], key].concat())
    }

    /// Returns the database and the key of a stored name.
    pub fn of_stored(name: &[u8]) -> (Self, &[u8]) {
        match name.strip_prefix(MARK).and_then(<[u8]>::split_first) {
            Some((number, key)) if *number < Self::COUNT => (Self(*number), key),
            _ => (Self(0), name),
        }
    }

    /// Reduces stored names to the keys of this database.
    pub(super) fn keys_among(self, mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        names.retain_mut(|name| {
            let (database, key) = Self::of_stored(name);
            let skipped = name.len() - key.len();
            name.drain(..skipped);
            database == self
        });
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_in_every_database() {
        let odd = [MARK, b"\x03k"].concat();
        let keys: [&[u8]; 5] = [b"k", b"", b"\0", &odd, b"task:logs:1"];
        let mut seen = std::collections::HashSet::new();
        for database in Database::all() {
            for key in keys {
                let stored = database.stored_name(key).into_owned();
                assert_eq!(Database::of_stored(&stored), (database, key));
                assert!(seen.insert(stored));
            }
        }
        assert_eq!(Database::default().stored_name(b"k"), Cow::Borrowed(b"k"));
        assert_eq!(
            (Database::new(15).map(Database::number), Database::new(16), Database::new(-1)),
            (Some(15), None, None)
        );
    }
}
