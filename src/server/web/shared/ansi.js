// Terminal text to styled spans. Pure: knows no document, so it is tested without a browser.
//
// Obeyed: SGR (colours, bold, dim, italic, underline, reverse, strike), carriage return, backspace
// and "erase in line", which is how progress bars rewrite themselves. Everything else a terminal
// would obey (titles, links, cursor jumps, clipboard) is dropped: log text is hostile.
//
// A style is an object { fg, bg, bold, dim, italic, underline, strike, reverse }. A colour is an
// index 0..15 (the theme's) or a string "#rrggbb". Colours do not carry over to the next line: a
// reader who jumps into the middle of a log could not know them.

const PLAIN = Object.freeze({});
const SPECIAL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const REWRITES = /[\r\b]/;
const ATTRIBUTES = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "strike" };
const RESETS = {
  21: ["bold"], 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["reverse"], 29: ["strike"],
  39: ["fg"], 49: ["bg"],
};

/** Spans `{ text, style }` of one line; neighbours with the same style are one span. */
export function parseLine(text) {
  if (!SPECIAL.test(text)) return text === "" ? [] : [{ text, style: PLAIN }];
  const body = text.endsWith("\r") ? text.replace(/\r+$/, "") : text;
  const sink = REWRITES.test(body) ? new Cells() : new Spans();
  run(body, sink);
  return sink.finish();
}

/** What a person sees of a line, without any style. */
export function plainText(text) {
  return SPECIAL.test(text) ? parseLine(text).map((span) => span.text).join("") : text;
}

function run(text, sink) {
  let style = PLAIN;
  let at = 0;
  const strings = { unclosed: false };
  while (at < text.length) {
    const plain = plainEnd(text, at);
    if (plain > at) sink.write(text.slice(at, plain), style);
    if (plain >= text.length) break;
    const code = text.charCodeAt(plain);
    if (code === 0x1b || code === 0x9b) {
      const escape = code === 0x9b ? controlSequence(text, plain + 1) : escapeAt(text, plain, strings);
      if (escape.final === "m") style = applySgr(style, escape.parameters);
      if (escape.final === "K") sink.erase(escape.parameters);
      at = escape.end;
      continue;
    }
    if (code === 0x0d) sink.home();
    else if (code === 0x08) sink.back();
    else if (code >= 0x200e) sink.write(`<U+${code.toString(16).toUpperCase()}>`, { control: true });
    at = plain + 1;
  }
}

function plainEnd(text, from) {
  let at = from;
  while (at < text.length && !isSpecial(text.charCodeAt(at))) at += 1;
  return at;
}

function isSpecial(code) {
  if (code < 0x20) return code !== 0x09;
  if (code < 0x200e) return code >= 0x7f && code <= 0x9f;
  // Marks that turn the reading direction can make a line read as another one.
  return code <= 0x2069 && (code <= 0x200f || (code >= 0x202a && code <= 0x202e) || code >= 0x2066);
}

function escapeAt(text, at, strings) {
  const next = text[at + 1];
  if (next === "[") return controlSequence(text, at + 2);
  if (next !== undefined && "]PX^_".includes(next)) return { end: stringEnd(text, at + 2, strings) };
  // ESC, intermediates (space to slash), one final: character sets, keypad modes and the like.
  let end = at + 1;
  while (end < text.length && text[end] >= " " && text[end] <= "/") end += 1;
  const final = text.charCodeAt(end);
  return { end: final >= 0x30 && final <= 0x7e ? end + 1 : end };
}

function controlSequence(text, from) {
  let end = from;
  while (end < text.length && text[end] >= "0" && text[end] <= "?") end += 1;
  const parameters = text.slice(from, end);
  while (end < text.length && text[end] >= " " && text[end] <= "/") end += 1;
  const final = text[end];
  if (final === undefined || final < "@" || final > "~") return { end };
  return { end: end + 1, final: /^[\d;:]*$/.test(parameters) ? final : undefined, parameters };
}

function stringEnd(text, from, strings) {
  // What was not closed further left is not closed here: looking again would take quadratic time.
  for (let at = strings.unclosed ? text.length : from; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x07 || code === 0x9c) return at + 1;
    if (code === 0x1b && text[at + 1] === "\\") return at + 2;
  }
  strings.unclosed = true;
  // Never closed: only the introducer is dropped, or a stray byte could hide the rest of a line.
  return from;
}

function applySgr(before, parameters) {
  const codes = parameters.split(/[;:]/).map((word) => (word === "" ? 0 : Number(word)));
  const style = { ...before };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) for (const key of Object.keys(style)) delete style[key];
    else if (ATTRIBUTES[code]) style[ATTRIBUTES[code]] = true;
    else if (RESETS[code]) for (const key of RESETS[code]) delete style[key];
    else if (code === 38 || code === 48) i = extendedColour(codes, i, style, code === 38 ? "fg" : "bg");
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
  }
  return style;
}

function extendedColour(codes, at, style, key) {
  if (codes[at + 1] === 5) {
    const index = codes[at + 2];
    if (index >= 0 && index <= 255) style[key] = indexed(index);
    return at + 2;
  }
  if (codes[at + 1] === 2) {
    const rgb = codes.slice(at + 2, at + 5);
    if (rgb.length === 3 && rgb.every((part) => part >= 0 && part <= 255)) style[key] = hex(rgb);
    return at + 4;
  }
  return at;
}

function indexed(index) {
  if (index < 16) return index;
  if (index >= 232) return hex(Array(3).fill(8 + 10 * (index - 232)));
  const cube = index - 16;
  const level = (part) => (part === 0 ? 0 : 55 + 40 * part);
  return hex([level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]);
}

function hex(rgb) {
  return "#" + rgb.map((part) => part.toString(16).padStart(2, "0")).join("");
}

class Spans {
  constructor() {
    this.spans = [];
  }

  write(text, style) {
    const last = this.spans[this.spans.length - 1];
    if (last && sameStyle(last.style, style)) last.text += text;
    else this.spans.push({ text, style });
  }

  // Nothing stands behind the end of a line that was never rewritten.
  erase() {}

  finish() {
    return this.spans;
  }
}

class Cells {
  constructor() {
    this.cells = [];
    this.column = 0;
  }

  write(text, style) {
    for (const character of text) {
      while (this.cells.length < this.column) this.cells.push({ text: " ", style: PLAIN });
      this.cells[this.column] = { text: character, style };
      this.column += 1;
    }
  }

  home() {
    this.column = 0;
  }

  back() {
    this.column = Math.max(0, this.column - 1);
  }

  erase(parameters) {
    if (parameters === "2") this.cells = [];
    else if (parameters === "1") {
      const upto = Math.min(this.column + 1, this.cells.length);
      for (let i = 0; i < upto; i += 1) this.cells[i] = { text: " ", style: PLAIN };
    } else this.cells.length = Math.min(this.cells.length, this.column);
  }

  finish() {
    const joined = new Spans();
    for (const cell of this.cells) joined.write(cell.text, cell.style);
    return joined.finish();
  }
}

function sameStyle(a, b) {
  if (a === b) return true;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
