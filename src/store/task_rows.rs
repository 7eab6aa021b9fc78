//! The records of tasks.

use sled::IVec;

use super::tree_id::TreeId;
use super::{Store, StoreError};

impl Store {
    /// Returns a task's record, as encoded by the layer that owns it.
    pub fn task(&self, id: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.get(TreeId::Tasks, id)
    }

    /// Returns the ids and records of all tasks.
    pub fn tasks(&self) -> impl Iterator<Item = Result<(IVec, IVec), StoreError>> + use<> {
        self.scan(TreeId::Tasks, &[])
    }

    /// Writes a task's record; `None` removes it.
    pub fn put_task(&self, id: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        self.check_writable()?;
        match record {
            Some(record) => self.put(TreeId::Tasks, id, record),
            None => self.delete(TreeId::Tasks, id),
        }
        Ok(())
    }
}
