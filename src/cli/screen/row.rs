//! A row of a terminal: cells with a style, or plain text that has not been changed.

use std::fmt::Write as _;
use std::ops::Range;
use std::rc::Rc;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::style::CellStyle;

/// The content of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Glyph {
    /// One code point.
    Char(char),
    /// A user-perceived character of several code points.
    Cluster(Rc<str>),
    /// The right half of the wide character before.
    Half,
}

/// A character of a row, with its style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScreenCell {
    pub(super) glyph: Glyph,
    pub(super) style: CellStyle,
}

impl ScreenCell {
    pub(super) const BLANK: ScreenCell = ScreenCell { glyph: Glyph::Char(' '), style: CellStyle::PLAIN };
}

/// One row.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct ScreenRow {
    /// Text to print before the row: of the line that last wrote to it.
    pub(in crate::cli) lead: Rc<str>,
    /// Unchanged plain text; `cells` are empty then.
    plain: String,
    cells: Vec<ScreenCell>,
}

impl ScreenRow {
    /// Returns an empty row.
    pub(super) fn new(lead: &Rc<str>) -> Self {
        Self { lead: Rc::clone(lead), ..Self::default() }
    }

    /// Reports whether nothing was written to the row.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.cells.is_empty()
    }

    /// Stores plain text in an empty row.
    pub(super) fn set_plain(&mut self, text: &str) {
        self.plain.push_str(text);
    }

    pub(super) fn clear(&mut self) {
        self.plain.clear();
        self.cells.clear();
    }

    /// Returns the cells to change them.
    pub(super) fn cells(&mut self) -> &mut Vec<ScreenCell> {
        if !self.plain.is_empty() {
            let plain = std::mem::take(&mut self.plain);
            each_cluster(&plain, |cluster, width| push(&mut self.cells, cluster, width, CellStyle::PLAIN));
        }
        &mut self.cells
    }

    /// Returns the text.
    pub(in crate::cli) fn text(&self) -> String {
        let mut text = self.plain.clone();
        self.cells.iter().for_each(|cell| push_glyph(&mut text, &cell.glyph));
        text
    }

    /// Returns the text for a terminal, with colours if enabled, and `marked` byte ranges of [`ScreenRow::text`]
    /// highlighted. At most `columns` columns are written.
    pub(in crate::cli) fn draw(&self, colours: bool, marked: &[Range<usize>], columns: usize) -> String {
        let mut out = String::new();
        if self.cells.is_empty() && (marked.is_empty() || !colours) && columns >= self.plain.len() {
            out.push_str(self.plain.trim_end());
            return out;
        }
        let mut row = self.clone();
        let cells = row.cells();
        let is_blank = |cell: &ScreenCell| *cell == ScreenCell::BLANK || (!colours && cell.glyph == Glyph::Char(' '));
        let end = cells.iter().rposition(|cell| !is_blank(cell)).map_or(0, |last| last + 1).min(columns);
        let (mut style, mut at) = (CellStyle::PLAIN, 0);
        for (column, cell) in cells.iter().enumerate().take(end) {
            // Half of a wide character at the right edge is left out.
            if column + 1 == columns && cells.get(column + 1).is_some_and(|next| next.glyph == Glyph::Half) {
                break;
            }
            let is_marked = marked.iter().any(|range| range.contains(&at));
            let wanted = if is_marked { cell.style.highlighted() } else { cell.style };
            if colours && wanted != style {
                // Writing to a String does not fail.
                write!(out, "{wanted}").ok();
                style = wanted;
            }
            push_glyph(&mut out, &cell.glyph);
            at += glyph_bytes(&cell.glyph);
        }
        if style != CellStyle::PLAIN {
            out.push_str("\u{1b}[0m");
        }
        out
    }

    /// Returns the number of columns.
    pub(in crate::cli) fn columns(&self) -> usize {
        if self.cells.is_empty() { columns(&self.plain) } else { self.cells.len() }
    }
}

/// Returns the number of terminal columns of a text without controls.
pub(in crate::cli) fn columns(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    let mut all = 0;
    each_cluster(text, |_, width| all += width);
    all
}

/// Calls `put` for each user-perceived character of a text without controls, with its columns: 0, 1 or 2.
pub(super) fn each_cluster(text: &str, mut put: impl FnMut(&str, usize)) {
    if text.is_ascii() {
        for at in 0..text.len() {
            put(text.get(at..=at).unwrap_or_default(), 1);
        }
        return;
    }
    for cluster in text.graphemes(true) {
        put(cluster, cluster.width().min(2));
    }
}

fn push(cells: &mut Vec<ScreenCell>, cluster: &str, width: usize, style: CellStyle) {
    if width == 0 {
        if let Some(cell) = cells.iter_mut().rev().find(|cell| cell.glyph != Glyph::Half) {
            combine(cell, cluster);
        }
        return;
    }
    cells.push(ScreenCell { glyph: glyph(cluster), style });
    if width == 2 {
        cells.push(ScreenCell { glyph: Glyph::Half, style });
    }
}

/// Returns the glyph of a user-perceived character.
pub(super) fn glyph(cluster: &str) -> Glyph {
    let mut chars = cluster.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) => Glyph::Char(one),
        _ => Glyph::Cluster(cluster.into()),
    }
}

/// Adds a combining character to a cell, up to a bounded length.
pub(super) fn combine(cell: &mut ScreenCell, mark: &str) {
    /// Maximum bytes of one cell, which bounds the memory of a hostile line.
    const CLUSTER_BYTES_MAX: usize = 64;
    let mut text = String::new();
    push_glyph(&mut text, &cell.glyph);
    if text.len() + mark.len() <= CLUSTER_BYTES_MAX {
        text.push_str(mark);
        cell.glyph = Glyph::Cluster(text.into());
    }
}

fn push_glyph(text: &mut String, glyph: &Glyph) {
    match glyph {
        Glyph::Char(c) => text.push(*c),
        Glyph::Cluster(cluster) => text.push_str(cluster),
        Glyph::Half => {}
    }
}

fn glyph_bytes(glyph: &Glyph) -> usize {
    match glyph {
        Glyph::Char(c) => c.len_utf8(),
        Glyph::Cluster(cluster) => cluster.len(),
        Glyph::Half => 0,
    }
}
