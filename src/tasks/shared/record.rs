//! A task's record as fields of its hash in Redis: each field of the record is one, as JSON. Servers write only what
//! they changed, so that none reverts what another has written meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::TasksError;
use super::super::record::{SessionSeq, TaskRecord};
use crate::home::ObjectName;
use crate::model::ReportedTotals;

/// Field with the report of the worker that ended the task. Not part of the record.
const REPORT: &str = "report";
/// Field with the name of the sealed log's object. Not part of the record.
const OBJECT: &str = "object";
/// Fields that the hash holds in another form while the task runs.
const DERIVED: [&str; 2] = ["sessions", "incarnation"];

/// The fields of a record, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordFields(BTreeMap<String, String>);

/// What the worker reported at the end, and its last message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct EndReport {
    pub(super) session: Option<SessionSeq>,
    pub(super) totals: ReportedTotals,
}

impl RecordFields {
    /// Returns the fields of a record.
    pub(super) fn of(record: &TaskRecord) -> Self {
        let fields = match serde_json::to_value(record) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let shared = fields.into_iter().filter(|(name, _)| !DERIVED.contains(&name.as_str()));
        Self(shared.map(|(name, value)| (name, value.to_string())).collect())
    }

    /// Returns the fields of these pairs, which were read from a hash.
    pub(super) fn from_pairs(pairs: &BTreeMap<String, String>) -> Self {
        Self(pairs.clone())
    }

    /// Returns the fields as pairs.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Sets the fields that differ in `now`. Returns them.
    pub(super) fn update(&mut self, now: &RecordFields) -> Vec<(String, String)> {
        let changed: Vec<(String, String)> = now
            .0
            .iter()
            .filter(|(name, value)| self.0.get(*name) != Some(*value))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        self.0.extend(changed.iter().cloned());
        changed
    }

    /// Returns the fields that differ in a record.
    pub(super) fn changed(&self, now: &TaskRecord) -> Vec<(String, String)> {
        self.clone().update(&RecordFields::of(now))
    }

    /// Returns the record with these fields. Fields that are missing are those of `before`; unknown ones are ignored, so
    /// that a newer server can add some.
    ///
    /// # Errors
    /// A field is not valid.
    pub(super) fn record(&self, before: &TaskRecord) -> Result<TaskRecord, TasksError> {
        let invalid = |why: String| TasksError::ReadOnly(format!("a task's record in Redis is not valid: {why}"));
        let Ok(Value::Object(mut fields)) = serde_json::to_value(before) else {
            return Err(invalid("it has no fields".to_owned()));
        };
        for (name, text) in &self.0 {
            if let Some(value) = fields.get_mut(name) {
                *value = serde_json::from_str(text).map_err(|error| invalid(format!("field {name}: {error}")))?;
            }
        }
        serde_json::from_value(Value::Object(fields)).map_err(|error| invalid(error.to_string()))
    }

    /// Returns what the worker reported at the end.
    pub(super) fn report(&self) -> EndReport {
        self.0.get(REPORT).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Returns the name of the sealed log's object.
    pub(super) fn object(&self) -> Option<String> {
        self.0.get(OBJECT).and_then(|text| serde_json::from_str(text).ok())
    }
}

/// Returns the field with a worker's report.
pub(super) fn report_field(report: &EndReport) -> (String, String) {
    (REPORT.to_owned(), serde_json::to_string(report).unwrap_or_default())
}

/// Returns the field with the name of the sealed log's object.
pub(super) fn object_field(name: &str) -> (String, String) {
    (OBJECT.to_owned(), Value::from(name).to_string())
}

/// Returns the fields of the record that a seal completes, with the sessions of the log.
pub(super) fn sealed_fields(record: &TaskRecord) -> Vec<(String, String)> {
    let mut fields = RecordFields::of(record).pairs();
    fields.push(("sessions".to_owned(), serde_json::to_string(&record.sessions).unwrap_or_default()));
    fields
}

/// A record as an object holds it.
#[derive(Debug)]
pub(super) struct StoredRecord {
    /// Its fields, as in the hash of the task.
    pub(super) fields: RecordFields,
    pub(super) record: TaskRecord,
    /// The object with the log.
    pub(super) log: ObjectName,
}

impl StoredRecord {
    /// Returns the content of the object.
    pub(super) fn encode(fields: &[(String, String)]) -> Vec<u8> {
        let json: BTreeMap<_, _> = fields.iter().cloned().collect();
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// Reads the content of the object of a task.
    ///
    /// # Errors
    /// The fault, as a description.
    pub(super) fn decode(json: &[u8], birth: u64) -> Result<Self, String> {
        let fields = RecordFields(serde_json::from_slice(json).map_err(|error| format!("cannot parse it: {error}"))?);
        let record = fields.record(&TaskRecord::new(birth)).map_err(|error| error.to_string())?;
        let log = fields.object().and_then(|object| object.parse().ok()).ok_or("it names no log")?;
        Ok(Self { fields, record, log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Artifact, TaskStatus, Timestamp};

    #[test]
    fn record_survives_the_fields() {
        let mut record = TaskRecord::new(u64::MAX - 1);
        record.command = vec!["make".into(), "-j".into()];
        record.labels.insert("k".into(), "v\n\u{1f600}".into());
        record.started = Some(Timestamp::from_millis(1_778_336_581_001));
        record.status = TaskStatus::Completed;
        record.artifact = Some(Artifact { bytes: 7, sha256: "ab".into() });
        let blank = TaskRecord::new(u64::MAX - 1);
        let fields = RecordFields::of(&record);
        assert_eq!(fields.record(&blank).unwrap(), TaskRecord { created: record.created, ..record.clone() });
        record.set_session_seq("s".into(), 4);
        let sealed = sealed_fields(&record).into_iter().collect();
        assert_eq!(RecordFields::from_pairs(&sealed).record(&blank).unwrap(), record);
    }

    #[test]
    fn only_changed_fields_are_written() {
        let mut record = TaskRecord::new(1);
        let mut known = RecordFields::of(&record);
        record.host = Some("h".into());
        let changed = known.update(&RecordFields::of(&record));
        assert_eq!(changed, [("host".to_owned(), "\"h\"".to_owned())]);
        assert_eq!(known.update(&RecordFields::of(&record)), []);
        let other = RecordFields::from_pairs(&[("status".to_owned(), "7".to_owned())].into());
        assert!(other.record(&record).unwrap_err().to_string().contains("not valid"));
    }
}
