// Draws one line of a log: its text as styled spans. Pure: uses no DOM, so it is tested without a browser.
//
// A line is drawn on its own: movement to other rows is ignored, because in the middle of a log the
// earlier lines may not be loaded, and colours do not carry over to the next line. blocks.js joins the
// lines that redraw each other. A newline inside a record starts a new row of the same line.

import { scan, SPECIAL } from "./escapes.js";
import { Screen } from "./screen.js";
import { applySgr, PLAIN, Spans } from "./sgr.js";
import { safeUrl } from "./urls.js";

// Carriage return, backspace, newline, and sequences that move the cursor or change written text.
const REWRITES = /[\r\b\n]|(?:\u001b\[|\u009b)(?:[\d;]*[@A-JLMPXZ`abdefsu]|[12]K)|\u001b[78c]/;

/** Reports whether a line changes its own text, so that its start alone does not show its state. */
export const isRewritten = (text) => SPECIAL.test(text) && REWRITES.test(withoutReturn(text));

/** Returns the spans `{ text, style }` of one line; adjacent spans with the same style are merged. */
export function parseLine(text) {
  if (!SPECIAL.test(text)) return text === "" ? [] : [{ text, style: PLAIN }];
  const body = withoutReturn(text);
  if (!REWRITES.test(body)) return styledText(body);
  const screen = new Screen({ flat: !body.includes("\n") });
  screen.feed(body);
  const spans = new Spans();
  screen.finish().forEach((row, index) => {
    if (index > 0) spans.write("\n", PLAIN);
    for (const span of row.spans) spans.write(span.text, span.style);
  });
  return spans.spans;
}

/** Returns the visible text of a line, without style. */
export function plainText(text) {
  return SPECIAL.test(text) ? parseLine(text).map((span) => span.text).join("") : text;
}

const withoutReturn = (text) => (text.endsWith("\r") ? text.replace(/\r+$/, "") : text);

// Returns the spans of a text that only has styles.
function styledText(text) {
  const spans = new Spans();
  let style = PLAIN;
  const drop = () => {};
  scan(text, {
    text: (part) => spans.write(part, style),
    control: (code) => code >= 0x200e && spans.write(`<U+${code.toString(16).toUpperCase()}>`, { control: true }),
    csi: (final, parameters) => {
      if (final === "m" && !parameters.startsWith("?")) style = applySgr(style, parameters);
    },
    escape: drop,
    link: (target) => {
      const { link: before, ...rest } = style;
      const href = target === "" ? null : safeUrl(target);
      style = href === null ? rest : { ...rest, link: href };
    },
  });
  return spans.spans;
}
