//! The recordings of `data/screens`, compared with what tmux showed of them, and single rules.

use std::fs;
use std::path::Path;

use super::*;

fn drawn(text: &str) -> Vec<String> {
    let mut screen = TextScreen::default();
    let lead: Rc<str> = Rc::from("");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        screen.feed(line, &lead);
        screen.newline();
    }
    without_end(screen.rows().iter().map(|row| row.text().trim_end().to_owned()).collect())
}

fn without_end(mut rows: Vec<String>) -> Vec<String> {
    while rows.last().is_some_and(String::is_empty) {
        rows.pop();
    }
    rows
}

#[test]
fn recordings_are_drawn_as_in_a_terminal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/screens");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "txt") {
            continue;
        }
        count += 1;
        let wanted = fs::read_to_string(path.with_extension("screen")).unwrap();
        let wanted: Vec<String> = wanted.strip_suffix('\n').unwrap_or(&wanted).split('\n').map(str::to_owned).collect();
        assert_eq!(drawn(&fs::read_to_string(&path).unwrap()), wanted, "{}", path.display());
    }
    assert!(count >= 12, "{count} recordings");
}

#[test]
fn cursor_moves_stay_inside_the_drawn_rows() {
    assert_eq!(drawn("a\nb\n\u{1b}[99Ac\u{1b}[99Bd"), ["c", "b", " d"]);
    assert_eq!(drawn("one\u{1b}[H\u{1b}[2Jtwo\nthree\u{1b}[1;1Hfour"), ["one", "four", "three"]);
    assert_eq!(drawn("top\n\u{1b}7\u{1b}[24;1Hbar\u{1b}8text"), ["top", "text"]);
    assert_eq!(drawn("shell\n\u{1b}[?1049hvim\u{1b}[?1049lback"), ["shell", "back"]);
    assert_eq!(drawn("a\u{1b}[18446744073709551615Cb\u{1b}[999999999Gc").len(), 1);
}

#[test]
fn a_line_alone_is_drawn_without_the_others() {
    let text = |line: &str| rows_of_line(line).iter().map(ScreenRow::text).collect::<Vec<_>>();
    assert_eq!(text("10%\r50%\r100%\r"), ["100%"]);
    assert_eq!(text("fetching |\u{8}/\u{8}-\u{1b}[2K\u{1b}[1Gfetched"), ["fetched"]);
    assert_eq!(text("\u{1b}[3Ax\u{1b}[2Jy"), ["xy"]);
    assert_eq!(text("Traceback\n  File\nValueError: bad"), ["Traceback", "  File", "ValueError: bad"]);
    assert_eq!(text("a\u{1b}]0;title\u{7}b\u{202e}c\u{7f}"), ["ab<U+202E>c"]);
    assert_eq!(
        text("download 100%\r\u{5b8c}\u{4e86}\u{3057}\u{307e}\u{3057}\u{305f}"),
        ["\u{5b8c}\u{4e86}\u{3057}\u{307e}\u{3057}\u{305f}%"]
    );
    assert_eq!(text(""), [""]);
    assert_eq!(text("\tx"), ["        x"]);
}

#[test]
fn only_colours_and_highlights_are_written() {
    let draw = |line: &str, colours, marked: &[std::ops::Range<usize>], columns| {
        rows_of_line(line)[0].draw(colours, marked, columns)
    };
    assert_eq!(draw("\u{1b}[31mred\u{1b}[0m plain", true, &[], 80), "\u{1b}[0;31mred\u{1b}[0m plain");
    assert_eq!(draw("\u{1b}[31mred", false, &[], 80), "red");
    assert_eq!(draw("say hello", true, std::slice::from_ref(&(4..6)), 80), "say \u{1b}[0;7mhe\u{1b}[0mllo");
    assert_eq!(draw("\u{5b8c}\u{4e86}", true, &[], 3), "\u{5b8c}");
}
