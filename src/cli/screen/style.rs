//! Text styles, as set by SGR sequences (ECMA-48, ISO 8613-6 with colons, xterm, kitty), like the page's `sgr.js`.

use std::fmt::{self, Write as _};

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellColour {
    /// A colour of the palette.
    Indexed(u8),
    /// Red, green and blue.
    Rgb(u8, u8, u8),
}

/// The style of a cell. Blinking is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CellStyle {
    foreground: Option<CellColour>,
    background: Option<CellColour>,
    line_colour: Option<CellColour>,
    /// Kind of underline: 0 is none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed.
    underline: u8,
    /// Attributes that are on: a bit for each SGR code in [`ATTRIBUTES`].
    attributes: u8,
}

/// SGR codes of the attributes and the code that turns each off.
const ATTRIBUTES: [(u16, u16); 7] = [(1, 22), (2, 22), (3, 23), (7, 27), (8, 28), (9, 29), (53, 55)];

impl CellStyle {
    /// The style of text without sequences.
    pub(super) const PLAIN: CellStyle =
        CellStyle { foreground: None, background: None, line_colour: None, underline: 0, attributes: 0 };

    /// Returns the style with reversed colours, for a highlighted match.
    pub(super) fn highlighted(self) -> Self {
        Self { attributes: self.attributes ^ (1 << 3), ..self }
    }

    /// Returns the style after an SGR sequence; sub-parameters follow their parameter after colons.
    pub(super) fn apply(mut self, parameters: &str) -> Self {
        let words: Vec<Vec<Option<u16>>> =
            parameters.split(';').map(|word| word.split(':').map(number).collect()).collect();
        let first = |at: usize| words.get(at).and_then(|word| word.first().copied().flatten());
        let mut at = 0;
        while let Some(word) = words.get(at) {
            match first(at).unwrap_or(0) {
                code @ (38 | 48 | 58) if word.len() > 1 => self.set_colour(code, sub_parameters(word)),
                code @ (38 | 48 | 58) => match first(at + 1) {
                    Some(5) => {
                        self.set_colour(code, first(at + 2).and_then(indexed));
                        at += 2;
                    }
                    Some(2) => {
                        self.set_colour(code, rgb(first(at + 2), first(at + 3), first(at + 4)));
                        at += 4;
                    }
                    _ => {}
                },
                4 => {
                    self.underline =
                        word.get(1).map_or(1, |kind| kind.and_then(small).filter(|kind| *kind <= 5).unwrap_or(0))
                }
                code => self.apply_code(code),
            }
            at += 1;
        }
        self
    }

    fn apply_code(&mut self, code: u16) {
        for (bit, (on, off)) in ATTRIBUTES.iter().enumerate() {
            if code == *on {
                self.attributes |= 1 << bit;
            } else if code == *off {
                self.attributes &= !(1 << bit);
            }
        }
        let low = |base: u16| small(code - base);
        match code {
            0 => *self = Self::default(),
            21 => self.underline = 2,
            24 => self.underline = 0,
            30..=37 => self.foreground = low(30).map(CellColour::Indexed),
            40..=47 => self.background = low(40).map(CellColour::Indexed),
            90..=97 => self.foreground = low(82).map(CellColour::Indexed),
            100..=107 => self.background = low(92).map(CellColour::Indexed),
            39 => self.foreground = None,
            49 => self.background = None,
            59 => self.line_colour = None,
            _ => {}
        }
    }

    /// Sets a colour; an invalid one changes nothing.
    fn set_colour(&mut self, code: u16, colour: Option<CellColour>) {
        let place = match code {
            38 => &mut self.foreground,
            48 => &mut self.background,
            _ => &mut self.line_colour,
        };
        *place = colour.or(*place);
    }
}

/// Writes the sequence that sets exactly this style.
impl fmt::Display for CellStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\u{1b}[0")?;
        for (bit, (on, _)) in ATTRIBUTES.iter().enumerate() {
            if self.attributes & (1 << bit) != 0 {
                write!(f, ";{on}")?;
            }
        }
        match self.underline {
            0 => {}
            1 => f.write_str(";4")?,
            kind => write!(f, ";4:{kind}")?,
        }
        for (base, colour) in [(30, self.foreground), (40, self.background), (50, self.line_colour)] {
            match colour {
                None => {}
                Some(CellColour::Indexed(index @ 0..=7)) if base < 50 => write!(f, ";{}", base + u16::from(index))?,
                Some(CellColour::Indexed(index @ 8..=15)) if base < 50 => {
                    write!(f, ";{}", base + 52 + u16::from(index))?
                }
                Some(CellColour::Indexed(index)) => write!(f, ";{};5;{index}", base + 8)?,
                Some(CellColour::Rgb(red, green, blue)) => write!(f, ";{};2;{red};{green};{blue}", base + 8)?,
            }
        }
        f.write_char('m')
    }
}

fn number(word: &str) -> Option<u16> {
    word.parse().ok()
}

fn small(number: u16) -> Option<u8> {
    u8::try_from(number).ok()
}

fn indexed(index: u16) -> Option<CellColour> {
    small(index).map(CellColour::Indexed)
}

fn rgb(red: Option<u16>, green: Option<u16>, blue: Option<u16>) -> Option<CellColour> {
    Some(CellColour::Rgb(small(red?)?, small(green?)?, small(blue?)?))
}

/// Returns the colour of `38:5:N`, `38:2::R:G:B` with the number of a colour space, or `38:2:R:G:B` as older
/// programs write it.
fn sub_parameters(word: &[Option<u16>]) -> Option<CellColour> {
    let at = |index: usize| word.get(index).copied().flatten();
    match at(1)? {
        5 => at(2).and_then(indexed),
        2 if word.len() >= 6 => rgb(at(3), at(4), at(5)),
        2 => rgb(at(2), at(3), at(4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_written_as_they_were_set() {
        for (parameters, written) in [
            ("", "\u{1b}[0m"),
            ("1;31", "\u{1b}[0;1;31m"),
            ("38:2::255:165:0", "\u{1b}[0;38;2;255;165;0m"),
            ("38;2;1;2;3;4", "\u{1b}[0;4;38;2;1;2;3m"),
            ("38;5;208;48;5;9", "\u{1b}[0;38;5;208;101m"),
            ("4:3;58:5:1", "\u{1b}[0;4:3;58;5;1m"),
            ("4;4:0", "\u{1b}[0m"),
            ("1;2;22;3", "\u{1b}[0;3m"),
            ("97;0", "\u{1b}[0m"),
            ("38;5", "\u{1b}[0m"),
        ] {
            assert_eq!(CellStyle::default().apply(parameters).to_string(), written, "{parameters}");
        }
    }
}
