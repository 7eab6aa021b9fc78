//! Parsers for the values of flags.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::{ChannelSet, StatusFilter};

/// Parses a list of streams, such as `stdout,stderr`.
pub(super) fn channels(text: &str) -> Result<ChannelSet, String> {
    text.parse::<ChannelSet>().map_err(|error| error.to_string())
}

/// Checks a repetition: `1/3`, or `1` if the total is unknown.
pub(super) fn repetition(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    let right = match text.split_once('/') {
        Some((of, total)) => number(of).zip(number(total)).is_some_and(|(of, total)| of <= total),
        None => number(text).is_some(),
    };
    if right { Ok(text.to_owned()) } else { Err("use the repetition and the total, such as 1/3".into()) }
}

/// Parses a label, `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a label: use KEY=VALUE, such as branch=main")),
    }
}

/// Returns the parser of a status or outcome, which also lists the words for completions.
pub(super) fn status_filter() -> impl TypedValueParser<Value = StatusFilter> {
    let words = StatusFilter::ALL.map(StatusFilter::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<StatusFilter>())
}
