//! Reading answers of Redis.

use redis::Value;

use super::error::EngineError;

/// Names and values of fields, in order.
pub type FieldBytes = Vec<(Vec<u8>, Vec<u8>)>;

/// The answer of a script: a word, and what follows it.
#[derive(Debug)]
pub(super) struct ScriptReply {
    pub(super) word: String,
    rest: std::vec::IntoIter<Value>,
}

impl ScriptReply {
    /// Parses an answer.
    pub(super) fn parse(value: Value) -> Result<Self, EngineError> {
        let Value::Array(values) = value else { return Err(unexpected(&value)) };
        let mut rest = values.into_iter();
        let word = rest.next().and_then(into_text).ok_or_else(|| unexpected(&Value::Nil))?;
        Ok(Self { word, rest })
    }

    /// Returns the next part as a number.
    pub(super) fn number(&mut self) -> Result<u64, EngineError> {
        self.text()?.parse().map_err(|_| EngineError::Protocol(format!("a bad number after {}", self.word)))
    }

    /// Returns the next part as a birth.
    pub(super) fn hex(&mut self) -> Result<u64, EngineError> {
        u64::from_str_radix(&self.text()?, 16).map_err(|_| EngineError::Protocol("a bad birth".to_owned()))
    }

    /// Returns the next part as text.
    pub(super) fn text(&mut self) -> Result<String, EngineError> {
        let part = self.rest.next().and_then(into_text);
        part.ok_or_else(|| EngineError::Protocol(format!("nothing after {}", self.word)))
    }

    /// Returns the next part as fields.
    pub(super) fn fields(&mut self) -> Result<FieldBytes, EngineError> {
        into_fields(self.rest.next().unwrap_or_default())
    }

    /// Returns the error for an answer that the caller does not know.
    pub(super) fn unexpected(&self) -> EngineError {
        EngineError::Protocol(format!("{:?}", self.word))
    }
}

/// Returns the error for an answer of an unexpected form.
pub(super) fn unexpected(value: &Value) -> EngineError {
    EngineError::Protocol(format!("{value:?}").chars().take(120).collect())
}

/// Returns the bytes of a string or a number.
pub(super) fn into_bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::Double(number) => Some(number.to_string().into_bytes()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

/// Returns the text of a string or a number.
pub(super) fn into_text(value: Value) -> Option<String> {
    into_bytes(value).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Returns the number in a string, an integer or a score.
pub(super) fn into_number(value: Value) -> Option<u64> {
    let text = into_text(value)?;
    let whole = || text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && (0.0..1.8e19).contains(n));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in range"
    )]
    text.parse().ok().or_else(|| whole().map(|n| n as u64))
}

/// Returns pairs of a map, or of an array that alternates names and values.
pub(super) fn into_fields(value: Value) -> Result<FieldBytes, EngineError> {
    let pair = |(name, value)| Some((into_bytes(name)?, into_bytes(value)?));
    let bad = || EngineError::Protocol("fields of an unexpected form".to_owned());
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|field| pair(field).ok_or_else(bad)).collect(),
        Value::Array(values) => {
            let mut values = values.into_iter();
            let mut fields = Vec::with_capacity(values.len() / 2);
            while let (Some(name), Some(value)) = (values.next(), values.next()) {
                fields.push(pair((name, value)).ok_or_else(bad)?);
            }
            Ok(fields)
        }
        Value::Nil => Ok(Vec::new()),
        value => Err(unexpected(&value)),
    }
}

/// Returns pairs of a map whose values are of any form.
pub(super) fn into_fields_of(value: Value) -> Option<Vec<(Vec<u8>, Value)>> {
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(name, value)| Some((into_bytes(name)?, value))).collect(),
        value => {
            let mut values = into_values(value).ok()?.into_iter();
            let mut pairs = Vec::with_capacity(values.len() / 2);
            while let (Some(name), Some(value)) = (values.next(), values.next()) {
                pairs.push((into_bytes(name)?, value));
            }
            Some(pairs)
        }
    }
}

/// Returns the values of an array or a set; empty for nil.
pub(super) fn into_values(value: Value) -> Result<Vec<Value>, EngineError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        value => Err(unexpected(&value)),
    }
}
