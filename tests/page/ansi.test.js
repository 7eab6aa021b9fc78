import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLine, plainText } from "../../src/server/web/shared/ansi.js";
import { findUrls, withLinks } from "../../src/server/web/shared/urls.js";

const E = "\x1b[";
const one = (text) => {
  const spans = parseLine(text);
  assert.equal(spans.length, 1, JSON.stringify(spans));
  return spans[0];
};

test("text without escapes is one span as it was", () => {
  assert.deepEqual(parseLine("a\tb <c> ü 語"), [{ text: "a\tb <c> ü 語", style: {} }]);
  assert.deepEqual(parseLine(""), []);
});

test("16 colours, bright ones and backgrounds are the theme's", () => {
  assert.deepEqual(one(`${E}31mx`), { text: "x", style: { fg: 1 } });
  assert.deepEqual(one(`${E}92mx`).style, { fg: 10 });
  assert.deepEqual(one(`${E}44mx`).style, { bg: 4 });
  assert.deepEqual(one(`${E}103mx`).style, { bg: 11 });
});

test("256 and true colours are exact", () => {
  assert.deepEqual(one(`${E}38;5;9mx`).style, { fg: 9 });
  assert.deepEqual(one(`${E}38;5;208mx`).style, { fg: "#ff8700" });
  assert.deepEqual(one(`${E}48;5;232mx`).style, { bg: "#080808" });
  assert.deepEqual(one(`${E}38;2;1;2;255mx`).style, { fg: "#0102ff" });
  assert.deepEqual(one(`${E}38;5;300mx`).style, {});
  assert.deepEqual(one(`${E}38;2;1;2;999mx`).style, {});
  assert.deepEqual(one(`${E}38;5;208;1mx`).style, { fg: "#ff8700", bold: true });
});

test("attributes are set and reset", () => {
  assert.deepEqual(one(`${E}1;2;3;4;7;9mx`).style, { bold: true, dim: true, italic: true, underline: true, reverse: true, strike: true });
  assert.deepEqual(one(`${E}1;3m${E}22mx`).style, { italic: true });
  assert.deepEqual(one(`${E}1;31m${E}mx`).style, {});
  assert.deepEqual(one(`${E}31m${E}39mx`).style, {});
  const spans = parseLine(`a${E}1mb${E}0mc`);
  assert.deepEqual(spans.map((span) => span.text), ["a", "b", "c"]);
  assert.deepEqual(spans[2].style, {});
});

test("sub-parameters stay with their parameter", () => {
  assert.deepEqual(one(`${E}38:2::255:120:0mx`).style, { fg: "#ff7800" });
  assert.deepEqual(one(`${E}48:2:1:2:3mx`).style, { bg: "#010203" });
  assert.deepEqual(one(`${E}38:2:0:1:2:3:0:1mx`).style, { fg: "#010203" });
  assert.deepEqual(one(`${E}38:5:208;1mx`).style, { fg: "#ff8700", bold: true });
  assert.deepEqual(one(`${E}4:3mx`).style, { underline: "curly" });
  assert.deepEqual(one(`${E}4:3;3m${E}4:0mx`).style, { italic: true });
  assert.deepEqual(one(`${E}4:1;58:2::9:8:7mx`).style, { underline: true, lineColour: "#090807" });
  assert.deepEqual(one(`${E}4;58;5;9m${E}59mx`).style, { underline: true });
  assert.deepEqual(one(`${E}21;53;8mx`).style, { underline: "double", overline: true, conceal: true });
  assert.deepEqual(one(`${E}53;8m${E}55;28mx`).style, {});
  assert.deepEqual(one(`${E}5;6mx`).style, {}, "blinking is ignored");
});

test("wide, combining and joined characters take their columns", () => {
  assert.equal(plainText("download 100%\r完了しました"), "完了しました%");
  assert.equal(plainText("📦📦📦 3 to go\r✅ ok        "), "✅ ok        o");
  assert.equal(plainText("语言\rx"), "x 言", "half of a wide character disappears");
  assert.equal(plainText("语言\r\x1b[Cx"), " x言");
  assert.equal(plainText("e\u0301e\u0301abc\rxy"), "xyabc");
  assert.equal(plainText("👩‍👩‍👧‍👦ab\r12"), "12ab");
  assert.equal(plainText("🇩🇪🇫🇷x\rabcd"), "abcdx");
  assert.equal(plainText("한국x\rabcd"), "abcdx");
  assert.equal(plainText("各国\b\bab"), "各ab");
  assert.equal(plainText("12345\r\u200bz"), "z2345", "invisible characters take none");
});

test("a newline inside a record starts a new row", () => {
  assert.equal(plainText("Traceback:\n  File\nValueError: bad"), "Traceback:\n  File\nValueError: bad");
  assert.equal(plainText("a\r\nb\r\n"), "a\nb");
  assert.equal(plainText("one\ntwo\x1b[A\rONE"), "ONE\ntwo");
  assert.deepEqual(parseLine(`${E}31ma\nb`).map(({ text, style }) => [text, style.fg]), [["a", 1], ["\n", undefined], ["b", 1]]);
});

test("columns, insertions and deletions within a line", () => {
  assert.equal(plainText(`fetch ⠋${E}1G${E}0Kfetch ⠙${E}1G${E}0Kfetched 12 packages`), "fetched 12 packages");
  assert.equal(plainText(`abcdef${E}3D${E}2P!`), "abc!");
  assert.equal(plainText(`abc${E}2G${E}2@xy`), "axybc");
  assert.equal(plainText(`abcdef${E}2G${E}3X`), "a   ef");
  assert.equal(plainText(`-${E}4bx`), "-----x");
  assert.equal(plainText(`10%\x1b7 noise\x1b8 20%`), "10% 20%se");
  assert.equal(plainText(`text\x1b7${E}24;0fbar 10%\x1b8 on`), "text on", "a bar at a fixed place is not text");
  assert.equal(plainText(`a${E}999C|`), `a${" ".repeat(78)}|`);
});

test("addresses and terminal hyperlinks are links, hostile ones never", () => {
  const links = (text) => withLinks(parseLine(text)).filter(({ style }) => style.link).map(({ text: words, style }) => [words, style.link]);
  assert.deepEqual(links("see https://ci.example/1"), [["https://ci.example/1", "https://ci.example/1"]]);
  assert.deepEqual(links("(at http://a.example/x_(y).), then"), [["http://a.example/x_(y)", "http://a.example/x_(y)"]]);
  assert.deepEqual(links("'https://a.example/?q=1&r=2#f', https://b.example."), [
    ["https://a.example/?q=1&r=2#f", "https://a.example/?q=1&r=2#f"], ["https://b.example", "https://b.example/"]]);
  assert.deepEqual(links("参照：https://a.example/文書。次"), [["https://a.example/文書", "https://a.example/%E6%96%87%E6%9B%B8"]]);
  assert.deepEqual(links(`${E}4mhttps://a.example/${E}1mb${E}0m!`).map(([, href]) => href), ["https://a.example/b", "https://a.example/b"]);
  assert.deepEqual(links("\x1b]8;id=1;https://a.example/x\x1b\\click\x1b]8;;\x07 on"), [["click", "https://a.example/x"]]);
  assert.deepEqual(links(`\x1b]8;;https://a.example/\x07a${E}31mb${E}0mc\x1b]8;;\x07d`).map(([words]) => words), ["a", "b", "c"]);
  for (const hostile of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://user@evil.example/", "https://", "//evil.example", "http://a b/"]) {
    assert.deepEqual(links(`\x1b]8;;${hostile}\x07click\x1b]8;;\x07`), [], hostile);
  }
  assert.deepEqual(links("ftp://a.example javascript:alert(1) xhttps://a.example https://good.example@evil.example/"), []);
  assert.deepEqual(findUrls("cut https://a.example/lo", true), [], "the end of a cut address is not known");
});

test("a carriage return rewrites the line as a terminal does", () => {
  assert.equal(plainText("10%\r55%\r100%"), "100%");
  assert.equal(plainText("hello\rHE"), "HEllo");
  assert.equal(plainText("long progress\r\x1b[Kok"), "ok");
  assert.equal(plainText("text\r"), "text");
  assert.equal(plainText("ab\bc"), "ac");
  assert.deepEqual(parseLine(`${E}31mabc\r${E}32mX`), [{ text: "X", style: { fg: 2 } }, { text: "bc", style: { fg: 1 } }]);
});

test("titles, queries and jumps are dropped", () => {
  assert.equal(plainText("a\x1b]0;title\x07b"), "ab");
  assert.equal(plainText("a\x1b[5;1R\x1b[?25lb\x1b(B\x1b=c\x1b[>4;2m\x1b[1 q"), "abc");
  assert.equal(plainText("a\x1b[2J end"), "a end", "clearing the screen hides nothing of a line");
  assert.equal(plainText("\x1b[H\x1b[2Jframe one\x1b[H\x1b[2Jframe 2"), "frame 2");
  assert.equal(plainText("a\x1b[10;3Hb"), "a b", "of a jump the column counts");
  assert.equal(plainText("a\x1bP1;2|data\x1b\\b"), "ab");
  assert.equal(plainText("a\x00\x07\x0bb\x7fc\x85d"), "abcd");
  assert.equal(plainText("\x9b31mred"), "red");
});

test("an unfinished control sequence hides no other text", () => {
  assert.equal(plainText("a\x1b"), "a");
  assert.equal(plainText("a\x1b[31"), "a");
  assert.equal(plainText("a\x1b]52;c;still here"), "a52;c;still here");
  assert.equal(plainText("a\x1b[31\u00e9b"), "a\u00e9b");
});

test("marks that turn the reading direction are shown", () => {
  assert.deepEqual(parseLine("a\u202eb").map((span) => span.text), ["a", "<U+202E>", "b"]);
});

test("any bytes end, and quickly", () => {
  let seed = 7;
  const next = () => (seed = (seed * 1103515245 + 12345) % 2147483648);
  const alphabet = ["\x1b", "[", "]", ";", "3", "m", "K", "H", "J", "A", "B", "L", "M", "P", "7", "8", "9", "\n", "\r", "\b", "\x07", "x", "\u202e", "語", "\x9b", "P", "\\"];
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 200 }, () => alphabet[next() % alphabet.length]).join("");
    for (const span of parseLine(text)) assert.ok(!/[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(span.text));
  }
  const begun = process.cpuUsage();
  parseLine("\x1b]".repeat(32_000));
  parseLine("x\r".repeat(32_000));
  parseLine("\x1b[200Bx\x1b[H\n".repeat(5000));
  parseLine("\x1b[499Cx\x1b[99L".repeat(5000));
  parseLine(`${"語".repeat(20_000)}\r`);
  assert.ok(process.cpuUsage(begun).user < 1_500_000, "64 KiB of the worst takes no noticeable time");
});
