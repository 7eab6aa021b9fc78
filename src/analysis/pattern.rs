//! Search patterns over the text of lines.

use aho_corasick::AhoCorasick;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};

use super::text::displayed;

/// Maximum size of the lazy DFA of a search.
const DFA_BYTES_MAX: usize = 1024 * 1024;
/// Maximum nesting of groups in a pattern.
const NESTING_MAX: u32 = 50;
/// Literals shorter than this are in almost every row, so searching for them first is a loss.
const LITERAL_BYTES_MIN: usize = 3;
/// Maximum number of literals that are searched for.
const LITERALS_MAX: usize = 64;

/// Limits of a pattern.
#[derive(Clone, Copy, Debug)]
pub struct PatternLimits {
    /// Maximum bytes of the pattern's text.
    pub text_bytes_max: usize,
    /// Maximum bytes of the compiled pattern.
    pub program_bytes_max: usize,
}

impl Default for PatternLimits {
    fn default() -> Self {
        Self { text_bytes_max: 4 * 1024, program_bytes_max: 1024 * 1024 }
    }
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is longer than the limit.
    #[error("the pattern has {0} bytes, which is too long")]
    TooLong(usize),
    /// The compiled pattern is larger than the limit.
    #[error("the compiled pattern is too large")]
    TooLarge,
    /// It is not a regular expression.
    #[error("{0}")]
    Syntax(String),
}

/// A regular expression that is matched against the displayed text of a line, or against its stored text.
///
/// `^` and `$` match at the start and the end of each row of a record with newlines.
#[derive(Clone, Debug)]
pub struct LogPattern {
    regex: Regex,
    raw: bool,
    literals: Option<AhoCorasick>,
}

impl LogPattern {
    /// Compiles a pattern. With `raw` it is matched against the stored text.
    ///
    /// # Errors
    /// The pattern is invalid or over a limit.
    pub fn new(text: &str, raw: bool, limits: PatternLimits) -> Result<Self, PatternError> {
        if text.len() > limits.text_bytes_max {
            return Err(PatternError::TooLong(text.len()));
        }
        let mut builder = RegexBuilder::new(text);
        builder.multi_line(true).nest_limit(NESTING_MAX);
        builder.size_limit(limits.program_bytes_max).dfa_size_limit(DFA_BYTES_MAX);
        let regex = builder.build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            other => PatternError::Syntax(other.to_string()),
        })?;
        Ok(Self { regex, raw, literals: literals(text) })
    }

    /// Reports whether a line's text matches.
    pub fn is_match(&self, text: &str) -> bool {
        if self.raw { self.regex.is_match(text) } else { self.regex.is_match(&displayed(text)) }
    }

    /// Returns the regular expression, for marking the matches in displayed text.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Reports whether it is matched against the stored text.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// Returns a searcher for literals, one of which is in every displayed text that matches, if there are any.
    pub(super) fn literals(&self) -> Option<&AhoCorasick> {
        self.literals.as_ref()
    }
}

/// Returns a searcher for literals of which every match contains one. They have no character that JSON escapes, so
/// they can be searched for in NDJSON.
fn literals(text: &str) -> Option<AhoCorasick> {
    let hir = regex_syntax::ParserBuilder::new().multi_line(true).nest_limit(NESTING_MAX).build().parse(text).ok()?;
    let extract = |kind: ExtractKind| {
        let mut extractor = Extractor::new();
        extractor.kind(kind).limit_total(LITERALS_MAX);
        extractor.extract(&hir)
    };
    let usable = |seq: &Seq| {
        let found = seq.literals()?;
        let fits = |bytes: &[u8]| bytes.len() >= LITERAL_BYTES_MIN && bytes.iter().all(|byte| is_verbatim(*byte));
        (!found.is_empty() && found.iter().all(|literal| fits(literal.as_bytes())))
            .then(|| found.iter().map(|literal| literal.as_bytes().len()).min().unwrap_or(0))
    };
    let (prefixes, suffixes) = (extract(ExtractKind::Prefix), extract(ExtractKind::Suffix));
    // The longest literals are the rarest.
    let best = match (usable(&prefixes), usable(&suffixes)) {
        (Some(prefix), Some(suffix)) if suffix > prefix => suffixes,
        (Some(_), _) => prefixes,
        (None, Some(_)) => suffixes,
        (None, None) => return None,
    };
    AhoCorasick::new(best.literals()?.iter().map(|literal| literal.as_bytes().to_vec())).ok()
}

/// Reports whether JSON contains this byte of a text as it is.
fn is_verbatim(byte: u8) -> bool {
    byte >= 0x20 && !matches!(byte, b'"' | b'\\' | 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> LogPattern {
        LogPattern::new(text, false, PatternLimits::default()).unwrap()
    }

    #[test]
    fn patterns_match_what_is_displayed() {
        let coloured = "tests/login \u{1b}[31mFAILED\u{1b}[0m [ 28%]";
        assert!(pattern("login FAILED").is_match(coloured));
        assert!(pattern("done$").is_match("alpha done\r"));
        assert!(pattern("^ValueError").is_match("Traceback\nValueError: bad"), "a row of a record");
        assert!(pattern("main$").is_match("in main\nnext"));
        assert!(!pattern("50%").is_match("50%\r100%"), "it is overwritten");
        assert!(!pattern("31m").is_match(coloured));
        let raw = LogPattern::new("\\x1b\\[31mFAILED", true, PatternLimits::default()).unwrap();
        assert!(raw.is_match(coloured));
    }

    #[test]
    fn patterns_are_bounded() {
        let limits = PatternLimits { text_bytes_max: 100, program_bytes_max: 10_000 };
        let error = |text: &str| LogPattern::new(text, false, limits).unwrap_err();
        assert_eq!(error(&"x".repeat(101)), PatternError::TooLong(101));
        assert_eq!(error("(\\w{100}){100}"), PatternError::TooLarge);
        assert!(matches!(error("("), PatternError::Syntax(_)));
    }

    #[test]
    fn literals_are_those_that_json_does_not_escape() {
        for (text, has) in [
            ("needle", true),
            ("(?i)needle", true),
            ("needle.*hay", true),
            ("\\d+ needle", true),
            ("error|warning", true),
            ("a\"quoted", true),
            ("\"quoted\"", false),
            ("\\\\path", false),
            ("^$", false),
            (".*", false),
            ("x", false),
            ("", false),
        ] {
            // A literal may be a part of the match; what counts is that none contains an escaped character.
            let found = pattern(text).literals.is_some();
            assert!(found == has || text == "a\"quoted", "{text}: {found}");
        }
    }
}
