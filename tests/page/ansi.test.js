import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLine, plainText } from "../../src/server/web/shared/ansi.js";

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

test("attributes are set and taken back", () => {
  assert.deepEqual(one(`${E}1;2;3;4;7;9mx`).style, { bold: true, dim: true, italic: true, underline: true, reverse: true, strike: true });
  assert.deepEqual(one(`${E}1;3m${E}22mx`).style, { italic: true });
  assert.deepEqual(one(`${E}1;31m${E}mx`).style, {});
  assert.deepEqual(one(`${E}31m${E}39mx`).style, {});
  const spans = parseLine(`a${E}1mb${E}0mc`);
  assert.deepEqual(spans.map((span) => span.text), ["a", "b", "c"]);
  assert.deepEqual(spans[2].style, {});
});

test("a carriage return rewrites the line as a terminal does", () => {
  assert.equal(plainText("10%\r55%\r100%"), "100%");
  assert.equal(plainText("hello\rHE"), "HEllo");
  assert.equal(plainText("long progress\r\x1b[Kok"), "ok");
  assert.equal(plainText("text\r"), "text");
  assert.equal(plainText("ab\bc"), "ac");
  assert.deepEqual(parseLine(`${E}31mabc\r${E}32mX`), [{ text: "X", style: { fg: 2 } }, { text: "bc", style: { fg: 1 } }]);
});

test("titles, links, queries and jumps are dropped", () => {
  assert.equal(plainText("a\x1b]0;title\x07b"), "ab");
  assert.equal(plainText("\x1b]8;;http://evil/\x1b\\click\x1b]8;;\x1b\\"), "click");
  assert.equal(plainText("a\x1b[2J\x1b[10;10H\x1b[?25lb\x1b(B\x1b=c"), "abc");
  assert.equal(plainText("a\x1bP1;2|data\x1b\\b"), "ab");
  assert.equal(plainText("a\x00\x07\x0bb\x7fc\x85d"), "abcd");
  assert.equal(plainText("\x9b31mred"), "red");
});

test("what is cut short hides nothing of the rest", () => {
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
  const alphabet = ["\x1b", "[", "]", ";", "3", "m", "K", "\r", "\b", "\x07", "x", "\u202e", "語", "\x9b", "P", "\\"];
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 200 }, () => alphabet[next() % alphabet.length]).join("");
    for (const span of parseLine(text)) assert.ok(!/[\x00-\x08\x0a-\x1f\x7f-\x9f]/.test(span.text));
  }
  const begun = process.cpuUsage();
  parseLine("\x1b]".repeat(32_000));
  parseLine("x\r".repeat(32_000));
  assert.ok(process.cpuUsage(begun).user < 1_500_000, "64 KiB of the worst takes no noticeable time");
});
