// Text styles, as set by SGR sequences (ECMA-48, ISO 8613-6 with colons, xterm, kitty). Pure.
//
// A style is an object { fg, bg, bold, dim, italic, underline, lineColour, overline, strike, reverse,
// conceal, link }. A colour is an index 0..15 of the theme or a string "#rrggbb"; `underline` is true or
// one of "double", "curly", "dotted", "dashed"; `link` is the target of a hyperlink. Blinking is ignored.

export const PLAIN = Object.freeze({});

const ATTRIBUTES = { 1: "bold", 2: "dim", 3: "italic", 7: "reverse", 8: "conceal", 9: "strike", 53: "overline" };
const RESETS = {
  22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["reverse"], 28: ["conceal"], 29: ["strike"],
  39: ["fg"], 49: ["bg"], 55: ["overline"], 59: ["lineColour"],
};
const UNDERLINES = [undefined, true, "double", "curly", "dotted", "dashed"];
const COLOURED = { 38: "fg", 48: "bg", 58: "lineColour" };

/** Returns the style after an SGR sequence; sub-parameters follow their parameter after colons. */
export function applySgr(before, parameters) {
  const words = parameters.split(";").map((word) => word.split(":").map(Number));
  const style = { ...before };
  for (let i = 0; i < words.length; i += 1) {
    const [code] = words[i];
    if (COLOURED[code]) {
      if (words[i].length > 1) subParameters(words[i], style, COLOURED[code]);
      else i += legacyColour(words, i, style, COLOURED[code]);
    } else applyCode(style, code, words[i]);
  }
  return style;
}

function applyCode(style, code, word) {
  if (code === 0) reset(style);
  else if (code === 4) underline(style, UNDERLINES[word.length > 1 ? word[1] : 1]);
  else if (code === 21) underline(style, "double");
  else if (ATTRIBUTES[code]) style[ATTRIBUTES[code]] = true;
  else if (RESETS[code]) for (const key of RESETS[code]) delete style[key];
  else if (code >= 30 && code <= 37) style.fg = code - 30;
  else if (code >= 40 && code <= 47) style.bg = code - 40;
  else if (code >= 90 && code <= 97) style.fg = code - 82;
  else if (code >= 100 && code <= 107) style.bg = code - 92;
}

// A hyperlink ends by its own sequence only.
function reset(style) {
  for (const key of Object.keys(style)) if (key !== "link") delete style[key];
}

function underline(style, kind) {
  if (kind === undefined) delete style.underline;
  else style.underline = kind;
}

// `38:5:N`, `38:2::R:G:B` with the number of a colour space, or `38:2:R:G:B` as older programs write it.
function subParameters(word, style, key) {
  if (word[1] === 5) setIndexed(style, key, word[2]);
  else if (word[1] === 2) setRgb(style, key, word.length >= 6 ? word.slice(3, 6) : word.slice(2, 5));
}

// `38;5;N` or `38;2;R;G;B`. Returns how many words after the first belong to it.
function legacyColour(words, at, style, key) {
  const value = (index) => words[at + index]?.[0];
  if (value(1) === 5) {
    setIndexed(style, key, value(2));
    return 2;
  }
  if (value(1) !== 2) return 0;
  setRgb(style, key, [value(2), value(3), value(4)]);
  return 4;
}

function setIndexed(style, key, index) {
  if (index >= 0 && index <= 255) style[key] = indexed(index);
}

function setRgb(style, key, rgb) {
  if (rgb.length === 3 && rgb.every((part) => part >= 0 && part <= 255)) style[key] = hex(rgb);
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

/** Reports whether two styles look the same. */
export function sameStyle(a, b) {
  if (a === b) return true;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** A list of styled spans `{ text, style }`; adjacent ones with the same style are merged. */
export class Spans {
  constructor() {
    this.spans = [];
  }

  write(text, style) {
    const last = this.spans[this.spans.length - 1];
    if (last && sameStyle(last.style, style)) last.text += text;
    else this.spans.push({ text, style });
  }
}
