#![allow(missing_docs, clippy::unused_async)]
mod name; pub use name::*;
#[derive(Clone, Debug)] pub struct ObjectStore;
#[derive(Clone, Debug, thiserror::Error)] #[error("x")] pub struct ObjectError;
impl ObjectStore {
 pub async fn get(&self, _: &ObjectName) -> Result<bytes::Bytes, ObjectError> { Err(ObjectError) }
 pub async fn get_to_file(&self, _: &ObjectName, _: &std::path::Path) -> Result<(), ObjectError> { Err(ObjectError) }
 pub async fn put_new(&self, _: &ObjectName, _: bytes::Bytes) -> Result<(), ObjectError> { Err(ObjectError) }
 pub async fn put_file_new(&self, _: &ObjectName, _: &std::path::Path) -> Result<(), ObjectError> { Err(ObjectError) }
 pub async fn delete(&self, _: &ObjectName) -> Result<(), ObjectError> { Err(ObjectError) }
 pub async fn delete_prefix(&self, _: &ObjectPrefix) -> Result<(), ObjectError> { Err(ObjectError) }
}

#[derive(Clone, Debug, Default)] pub struct ObjectOptions { pub endpoint: Option<String>, pub region: Option<String> }
pub struct StoreCheck { pub conditional_put: bool }
impl std::fmt::Display for ObjectStore { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("x") } }
impl ObjectStore { pub fn open(_: &super::StoreUrl, _: ObjectOptions) -> Result<Self, ObjectError> { Ok(Self) } pub async fn check_writable(&self) -> Result<StoreCheck, ObjectError> { Err(ObjectError) } }
