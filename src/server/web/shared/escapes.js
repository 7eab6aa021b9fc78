// Splits terminal text into plain text, control characters and escape sequences. Pure.
//
// Log text is untrusted: device queries, clipboard and title sequences are recognised and dropped, and
// a sequence that is cut short or malformed hides nothing of the text after it.

const ESCAPE = 0x1b;
const CSI = 0x9b;
const LINK = /^8;[^;]*;/;

/** Matches a text that is not plain: it has a control character or a bidirectional control. */
export const SPECIAL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/**
 * Calls `sink` for each part of a text, in order: `text(text)`, `control(code)` for C0 controls except
 * tab and for bidirectional controls, `csi(final, parameters)`, `escape(final)`, and `link(target)`,
 * where an empty target ends a link.
 */
export function scan(text, sink) {
  let at = 0;
  const strings = { unclosed: false };
  while (at < text.length) {
    const plain = plainEnd(text, at);
    if (plain > at) sink.text(text.slice(at, plain));
    if (plain >= text.length) break;
    const code = text.charCodeAt(plain);
    if (code === ESCAPE) at = escapeAt(text, plain, strings, sink);
    else if (code === CSI) at = controlSequence(text, plain + 1, sink);
    else {
      sink.control(code);
      at = plain + 1;
    }
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
  // Bidirectional controls can disguise the text of a line.
  return code <= 0x2069 && (code <= 0x200f || (code >= 0x202a && code <= 0x202e) || code >= 0x2066);
}

function escapeAt(text, at, strings, sink) {
  const next = text[at + 1];
  if (next === "[") return controlSequence(text, at + 2, sink);
  if (next !== undefined && "]PX^_".includes(next)) return stringAt(text, at + 2, next, strings, sink);
  // ESC, intermediates (space to slash), one final: character sets, keypad modes and the like.
  let end = at + 1;
  while (end < text.length && text[end] >= " " && text[end] <= "/") end += 1;
  const final = text.charCodeAt(end);
  if (!(final >= 0x30 && final <= 0x7e)) return end;
  if (end === at + 1) sink.escape(text[end]);
  return end + 1;
}

function controlSequence(text, from, sink) {
  let end = from;
  while (end < text.length && text[end] >= "0" && text[end] <= "?") end += 1;
  const parameters = text.slice(from, end);
  const intermediates = end;
  while (end < text.length && text[end] >= " " && text[end] <= "/") end += 1;
  const final = text[end];
  if (final === undefined || final < "@" || final > "~") return end;
  if (end === intermediates && /^\??[\d;:]*$/.test(parameters)) sink.csi(final, parameters);
  return end + 1;
}

function stringAt(text, from, kind, strings, sink) {
  // If an earlier string was not closed, this one is not either; rescanning would take quadratic time.
  for (let at = strings.unclosed ? text.length : from; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const width = code === 0x07 || code === 0x9c ? 1 : code === ESCAPE && text[at + 1] === "\\" ? 2 : 0;
    if (width === 0) continue;
    const body = kind === "]" ? text.slice(from, at) : "";
    const link = LINK.exec(body);
    if (link) sink.link(body.slice(link[0].length));
    return at + width;
  }
  strings.unclosed = true;
  // Not closed: drop only the introducer, or a stray byte could hide the rest of a line.
  return from;
}
