//! Decodes UTF-16 output, which its byte order mark announces.

use serde::{Deserialize, Serialize};

/// Maximum bytes of a line that are looked at to decide whether the output is still UTF-16.
const PROBE_BYTES_MAX: usize = 256;
/// U+FEFF, the byte order mark.
const MARK: u16 = 0xfeff;
/// Stands for a unit that is no character; never valid UTF-8, so it is replaced and marked later.
const BAD_BYTE: u8 = 0xff;

/// A decoder of the UTF-16 text that follows a byte order mark.
///
/// Several programs can write to one pipe, so each line is checked: a line that is plain text ends the UTF-16
/// part of the output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Utf16Decoder {
    big_endian: bool,
    /// Bytes not decoded yet: less than a character, or the beginning of a line.
    raw: Vec<u8>,
    /// The bytes in `raw` begin a line, and it is undecided whether that is UTF-16.
    at_line_start: bool,
    /// The next character is the first of its line; a mark there is dropped.
    is_first: bool,
}

/// The encoding of the bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Following {
    /// Still UTF-16.
    Utf16,
    /// Not UTF-16.
    Plain,
}

impl Utf16Decoder {
    /// Returns a decoder if the line begins with the byte order mark of UTF-16; it still needs the bytes of the
    /// line.
    pub(super) fn detect(line: &[u8]) -> Option<Self> {
        let big_endian = match line {
            [0xff, 0xfe, ..] => false,
            [0xfe, 0xff, ..] => true,
            _ => return None,
        };
        Some(Self { big_endian, raw: Vec::new(), at_line_start: false, is_first: true })
    }

    /// Decodes bytes from `input` and appends them to `out` as UTF-8. Stops where the output is no longer UTF-16.
    pub(super) fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Following {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.raw.push(*byte);
            if self.at_line_start {
                match self.judge() {
                    None => continue,
                    Some(Following::Plain) => {
                        out.append(&mut self.raw);
                        return Following::Plain;
                    }
                    Some(Following::Utf16) => self.at_line_start = false,
                }
            }
            self.decode(out);
        }
        Following::Utf16
    }

    /// Appends the bytes that are left at the end of the output.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let odd = !self.raw.len().is_multiple_of(2);
        if self.at_line_start && (self.is_plain(&self.raw) || odd && is_printable(&self.raw)) {
            return out.append(&mut self.raw);
        }
        self.at_line_start = false;
        self.decode(out);
        out.extend(self.raw.drain(..).map(|_| BAD_BYTE));
    }

    /// Decodes whole characters, up to the end of a line.
    fn decode(&mut self, out: &mut Vec<u8>) {
        let mut used = 0;
        while let Some((unit, rest)) = self.unit(used) {
            let found = match char::decode_utf16([unit]).next() {
                Some(Ok(found)) => Some(found),
                _ if is_high_surrogate(unit) && rest < 2 => break,
                _ => self.unit(used + 2).and_then(|(low, _)| char::decode_utf16([unit, low]).next()?.ok()),
            };
            used += if is_high_surrogate(unit) && found.is_some() { 4 } else { 2 };
            match found {
                Some('\u{feff}') if self.is_first && unit == MARK => continue,
                Some(found) => out.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes()),
                None => out.push(BAD_BYTE),
            }
            self.is_first = found == Some('\n');
            if self.is_first {
                self.at_line_start = true;
                break;
            }
        }
        self.raw.drain(..used);
    }

    /// Decides by the bytes of a line up to now whether the line is UTF-16; `None` if more bytes are needed.
    fn judge(&self) -> Option<Following> {
        match self.raw.split_last()? {
            // UTF-16 text has zero bytes in its spaces, digits and line ends; other text has none.
            (0, _) => Some(Following::Utf16),
            (b'\n', line) if self.is_plain(line) => Some(Following::Plain),
            (b'\n', _) => Some(Following::Utf16),
            _ if self.raw.len() >= PROBE_BYTES_MAX => Some(Following::Utf16),
            _ => None,
        }
    }

    /// Reports whether the bytes before a byte `\n` are a line of plain text. Chinese text can look like that by
    /// chance if it is short and the byte is the second half of a character, such as U+4E0A. Then a short line must
    /// consist of small letters for the most part.
    fn is_plain(&self, line: &[u8]) -> bool {
        let small = |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || **byte == b' ';
        let can_be_a_half = line.len().is_multiple_of(2) != self.big_endian;
        let is_likely = || line.len() >= 8 || line.iter().filter(small).count() * 3 >= line.len() * 2;
        line.len() >= 2 && is_printable(line) && (!can_be_a_half || is_likely())
    }

    /// Returns the unit at this index and the number of bytes after it.
    fn unit(&self, at: usize) -> Option<(u16, usize)> {
        let (pair, rest) = self.raw.get(at..)?.split_first_chunk::<2>()?;
        Some((if self.big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }, rest.len()))
    }
}

fn is_high_surrogate(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_printable(line: &[u8]) -> bool {
    let control = |byte: &u8| byte.is_ascii_control() && !b"\t\r\n\x1b".contains(byte);
    std::str::from_utf8(line).is_ok() && !line.iter().any(control)
}
