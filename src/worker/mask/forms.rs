//! The forms in which a secret appears in output: plain, and in the encodings that programs print.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::SECRET_BYTES_MIN;

/// Minimum bytes for a line of a multi-line secret to be matched on its own. Keys are printed indented, or
/// with a prefix before each line.
const LINE_BYTES_MIN: usize = 16;
/// Minimum bytes of a secret for its base64 forms; without their first and last character, those of shorter
/// secrets are too short.
const BASE64_BYTES_MIN: usize = 6;
/// Widths at which `base64` and PEM writers break lines.
const BASE64_LINES: [usize; 2] = [76, 64];

/// RFC 3986: all except its unreserved characters.
const RFC_3986: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// JavaScript's `encodeURIComponent`.
const COMPONENT: &AsciiSet = &RFC_3986.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
/// Python's `quote`, and other encoders of paths.
const PATH: &AsciiSet = &RFC_3986.remove(b'/');
/// `application/x-www-form-urlencoded` as in browsers; a space is `+`.
const FORM: &AsciiSet = &RFC_3986.add(b'~').remove(b'*');

/// Returns the secret without leading and trailing line ends.
pub(super) fn without_line_ends(secret: &[u8]) -> &[u8] {
    let inside = |byte: &u8| !matches!(byte, b'\n' | b'\r');
    let first = secret.iter().position(inside).unwrap_or(secret.len());
    let last = secret.iter().rposition(inside).map_or(first, |last| last + 1);
    secret.get(first..last).unwrap_or_default()
}

/// Returns all forms to match. None of them begins or ends with a line end.
pub(super) fn variants(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let lines: Vec<&[u8]> =
        secret.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let plain = lines.join(&b"\n"[..]);
    let with_carriage_returns = lines.join(&b"\r\n"[..]);
    for whole in [secret, &plain, &with_carriage_returns] {
        percent(whole, &mut forms);
        json(whole, &mut forms);
        base64(whole, &mut forms);
        forms.insert(whole.to_vec());
    }
    if lines.len() > 1 {
        each_line(&lines, &mut forms);
    }
    forms.retain(|form| form.len() >= SECRET_BYTES_MIN);
    forms
}

fn each_line(lines: &[&[u8]], forms: &mut BTreeSet<Vec<u8>>) {
    for line in lines {
        let line = line.trim_ascii();
        // The first and last line of every PEM block are public.
        if line.len() >= LINE_BYTES_MIN && !line.starts_with(b"-----") {
            forms.insert(line.to_vec());
        }
    }
}

fn percent(secret: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let mut add = |form: String| {
        forms.insert(lower_hex(&form).into_bytes());
        forms.insert(form.into_bytes());
    };
    for set in [NON_ALPHANUMERIC, RFC_3986, COMPONENT, PATH] {
        add(percent_encode(secret, set).to_string());
    }
    for set in [RFC_3986, FORM] {
        add(percent_encode(secret, set).to_string().replace("%20", "+"));
    }
}

/// Returns the form with the digits of its escapes in lower case.
fn lower_hex(form: &str) -> String {
    let mut digits = 0u8;
    let lower = form.chars().map(|c| match (c, digits) {
        ('%', _) => {
            digits = 2;
            c
        }
        (_, 0) => c,
        _ => {
            digits -= 1;
            c.to_ascii_lowercase()
        }
    });
    lower.collect()
}

/// Adds the forms of a JSON string, without the quotes.
fn json(secret: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let Ok(text) = std::str::from_utf8(secret) else { return };
    let Ok(quoted) = serde_json::to_string(text) else { return };
    let escaped = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted);
    let unicode = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    let escape = |which: fn(char) -> bool| -> String {
        escaped.chars().map(|c| if which(c) { unicode(c) } else { c.to_string() }).collect()
    };
    // Python and PHP write ASCII only, Go escapes HTML markup, and PHP escapes the slash.
    forms.insert(escape(|c| !c.is_ascii()).into_bytes());
    forms.insert(escape(|c| "<>&".contains(c)).into_bytes());
    forms.insert(escape(|c| !c.is_ascii()).replace('/', "\\/").into_bytes());
    forms.insert(escaped.to_owned().into_bytes());
}

/// Adds base64 forms for every alignment within the encoded data. Characters that also depend on neighbouring
/// bytes are omitted.
fn base64(secret: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    if secret.len() < BASE64_BYTES_MIN {
        return;
    }
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3usize {
            let encoded = engine.encode([&vec![0; before], secret].concat());
            let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            forms.extend(encoded.get(first..last).map(|own| own.as_bytes().to_vec()));
        }
        for after in [&b""[..], b"\n"] {
            let whole = engine.encode([secret, after].concat());
            for width in BASE64_LINES.into_iter().filter(|width| whole.len() > *width) {
                let lines: Vec<&[u8]> = whole.as_bytes().chunks(width).collect();
                forms.insert(lines.join(&b"\n"[..]));
                forms.insert(lines.join(&b"\r\n"[..]));
                each_line(&lines, forms);
            }
            forms.insert(whole.into_bytes());
        }
    }
}
