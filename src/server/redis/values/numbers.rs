//! Numbers in strings and hashes: `INCR` and its relatives.

use super::ids::{integer, plain_integer};
use super::{CommandError, CommandResult, ValueContext};
use crate::wire::resp::{Reply, Request};

/// Decimals that Redis prints of a floating-point number.
const DECIMALS: usize = 17;
/// One, as a fixed-point number with that many decimals.
const ONE: i128 = 100_000_000_000_000_000;
/// Longest text of a floating-point number (Redis: `MAX_LONG_DOUBLE_CHARS`).
const FLOAT_BYTES_MAX: usize = 5 * 1024;

const OVERFLOW: CommandError = CommandError::Static("ERR increment or decrement would overflow");
const NOT_A_FLOAT: CommandError = CommandError::Static("ERR value is not a valid float");
const NOT_FINITE: CommandError = CommandError::Static("ERR increment would produce NaN or Infinity");

/// `INCR key`
pub(super) fn incr(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    add(context, request.arg(1), 1, reply)
}

/// `DECR key`
pub(super) fn decr(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    add(context, request.arg(1), -1, reply)
}

/// `INCRBY key number`
pub(super) fn incrby(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    add(context, request.arg(1), integer(request.arg(2))?, reply)
}

/// `DECRBY key number`
pub(super) fn decrby(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let number = integer(request.arg(2))?;
    let negative = number.checked_neg().ok_or(CommandError::Static("ERR decrement would overflow"))?;
    add(context, request.arg(1), negative, reply)
}

fn add(context: &mut ValueContext<'_, '_>, key: &[u8], number: i64, reply: &mut Reply) -> CommandResult {
    let before = context.string(key)?.map_or(Ok(0), integer)?;
    let sum = before.checked_add(number).ok_or(OVERFLOW)?;
    replace_string(context, key, sum.to_string().into_bytes())?;
    reply.integer(sum);
    Ok(())
}

/// Replaces a string and keeps its expiration time.
fn replace_string(context: &mut ValueContext<'_, '_>, key: &[u8], text: Vec<u8>) -> CommandResult {
    let expires = context.value(key).and_then(|value| value.expires);
    context.set_string(key, text, expires)
}

/// `INCRBYFLOAT key number`: replies with the sum as text.
pub(super) fn incrbyfloat(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let before = context.string(key)?.map_or(Ok(Float::ZERO), |text| Float::parse(text).ok_or(NOT_A_FLOAT))?;
    let sum = before.sum(Float::parse(request.arg(2)).ok_or(NOT_A_FLOAT)?)?;
    reply.bulk(&sum);
    replace_string(context, key, sum)
}

/// `HINCRBY key field number`
pub(super) fn hincrby(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, field, number) = (request.arg(1), request.arg(2), integer(request.arg(3))?);
    let before = match context.hash(key)?.and_then(|hash| hash.get(field)) {
        Some(text) => plain_integer(text).ok_or(CommandError::Static("ERR hash value is not an integer"))?,
        None => 0,
    };
    let sum = before.checked_add(number).ok_or(OVERFLOW)?;
    context.change_hash(key, |hash| hash.set(field, sum.to_string().into_bytes()))?;
    context.touch(key);
    reply.integer(sum);
    Ok(())
}

/// `HINCRBYFLOAT key field number`: replies with the sum as text.
pub(super) fn hincrbyfloat(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, field) = (request.arg(1), request.arg(2));
    let number = Float::parse(request.arg(3)).ok_or(NOT_A_FLOAT)?;
    if !number.is_finite() {
        return Err(CommandError::Static("ERR value is NaN or Infinity"));
    }
    let before = match context.hash(key)?.and_then(|hash| hash.get(field)) {
        Some(text) => Float::parse(text).ok_or(CommandError::Static("ERR hash value is not a float"))?,
        None => Float::ZERO,
    };
    let sum = before.sum(number)?;
    reply.bulk(&sum);
    context.change_hash(key, |hash| hash.set(field, sum))?;
    context.touch(key);
    Ok(())
}

/// A decimal number. Redis adds `long double`s and prints 17 decimals; the sum of two decimal numbers is exact
/// here, which gives the same text for numbers of up to 18 digits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Float {
    /// A number of [`ONE`]s.
    Fixed(i128),
    /// A number that has more digits.
    Double(f64),
}

impl Float {
    const ZERO: Self = Self::Fixed(0);

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty() && text.len() < FLOAT_BYTES_MAX)?;
        match Self::parse_fixed(text) {
            Some(fixed) => Some(Self::Fixed(fixed)),
            None => text.parse().ok().filter(|double: &f64| !double.is_nan()).map(Self::Double),
        }
    }

    /// Parses a decimal number with an optional exponent, if it is exact with 17 decimals.
    fn parse_fixed(text: &str) -> Option<i128> {
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().ok()?;
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && decimals.is_empty() {
            return None;
        }
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(decimals.bytes()) {
            let digit = char::from(byte).to_digit(10)?;
            digits = digits.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        let shift =
            i32::try_from(DECIMALS).ok()?.checked_add(exponent)?.checked_sub(i32::try_from(decimals.len()).ok()?)?;
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        let fixed = match (digits, shift >= 0) {
            (0, _) => 0,
            (digits, true) => digits.checked_mul(power?)?,
            (digits, false) => Some(digits).filter(|digits| power.is_some_and(|power| digits % power == 0))? / power?,
        };
        Some(if negative { -fixed } else { fixed })
    }

    fn double(self) -> f64 {
        match self {
            Self::Fixed(fixed) => fixed as f64 / ONE as f64,
            Self::Double(double) => double,
        }
    }

    fn is_finite(self) -> bool {
        self.double().is_finite()
    }

    /// Returns the sum as text, without trailing zeros.
    fn sum(self, other: Self) -> CommandResult<Vec<u8>> {
        let text = match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) if one.checked_add(other).is_some() => {
                let sum = one.saturating_add(other);
                let sign = if sum < 0 { "-" } else { "" };
                let (whole, decimals) =
                    (sum.unsigned_abs() / ONE.unsigned_abs(), sum.unsigned_abs() % ONE.unsigned_abs());
                format!("{sign}{whole}.{decimals:017}")
            }
            _ => {
                let sum = self.double() + other.double();
                if !sum.is_finite() {
                    return Err(NOT_FINITE);
                }
                format!("{sum:.DECIMALS$}")
            }
        };
        Ok(text.trim_end_matches('0').trim_end_matches('.').as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_sums_are_exact() {
        for (one, other, sum) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-1.5", "1.5"),
            ("-0.5", "0.25", "-0.25"),
            ("0", "0", "0"),
            (".5", "1.", "1.5"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1000", "-1000", "0"),
        ] {
            let sum_of = Float::parse(one.as_bytes()).unwrap().sum(Float::parse(other.as_bytes()).unwrap()).unwrap();
            assert_eq!(String::from_utf8(sum_of).unwrap(), sum, "{one} + {other}");
        }
        for text in ["", " 1", "1 ", "abc", "nan", "1e", "--1", "."] {
            assert_eq!(Float::parse(text.as_bytes()), None, "{text}");
        }
        assert!(Float::parse(b"inf").unwrap().sum(Float::ZERO).is_err());
        assert!(Float::parse(b"1e300").unwrap().sum(Float::parse(b"1e300").unwrap()).is_ok());
    }
}
