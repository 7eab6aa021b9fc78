//! The units of limits, and how they are written. They are public only because the fields of
//! [`Limits`](super::Limits) have these types.

use std::time::Duration;

use crate::model::units;

/// The unit of a limit.
pub trait LimitUnit {
    /// Type of the value in the program.
    type Value;
    /// Placeholder for the value in a usage text.
    const VALUE_NAME: &'static str;
    /// Parses a value; the error names the problem and an example.
    fn parse(text: &str) -> Result<Self::Value, String>;
    /// Returns the value as a number; `None` if it is off.
    fn number(value: &Self::Value) -> Option<f64>;
    /// Returns the value as text that `parse` accepts.
    fn show(value: &Self::Value) -> String;
}

/// A number above zero.
pub struct Count;
/// A number of bytes.
pub struct Bytes;
/// A duration.
pub struct Time;
/// Another unit, or `off`.
pub struct OrOff<K>(std::marker::PhantomData<K>);

impl LimitUnit for Count {
    type Value = u64;
    const VALUE_NAME: &'static str = "N";

    fn parse(text: &str) -> Result<u64, String> {
        units::count(text)
    }

    fn number(value: &u64) -> Option<f64> {
        Some(*value as f64)
    }

    fn show(value: &u64) -> String {
        value.to_string()
    }
}

impl LimitUnit for Bytes {
    type Value = u64;
    const VALUE_NAME: &'static str = "SIZE";

    fn parse(text: &str) -> Result<u64, String> {
        units::size(text)
    }

    fn number(value: &u64) -> Option<f64> {
        Some(*value as f64)
    }

    fn show(value: &u64) -> String {
        units::show_size(*value)
    }
}

impl LimitUnit for Time {
    type Value = Duration;
    const VALUE_NAME: &'static str = "TIME";

    fn parse(text: &str) -> Result<Duration, String> {
        units::duration(text)
    }

    fn number(value: &Duration) -> Option<f64> {
        Some(value.as_secs_f64())
    }

    fn show(value: &Duration) -> String {
        units::show_duration(*value)
    }
}

impl<K: LimitUnit> LimitUnit for OrOff<K> {
    type Value = Option<K::Value>;
    const VALUE_NAME: &'static str = K::VALUE_NAME;

    fn parse(text: &str) -> Result<Self::Value, String> {
        if text == "off" {
            return Ok(None);
        }
        K::parse(text).map(Some).map_err(|why| format!("{why}, or off"))
    }

    fn number(value: &Self::Value) -> Option<f64> {
        value.as_ref().and_then(K::number)
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "off".to_owned(), K::show)
    }
}

/// A number above zero, or `off`.
pub(super) type CountOrOff = OrOff<Count>;
/// A number of bytes, or `off`.
pub(super) type BytesOrOff = OrOff<Bytes>;
/// A duration, or `off`.
pub(super) type TimeOrOff = OrOff<Time>;
