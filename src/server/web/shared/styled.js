// Builds the nodes of styled text. Log text only becomes text nodes, never markup.

import { textColour } from "./contrast.js";
import { element } from "./dom.js";

const FLAGS = { bold: "b", dim: "d", italic: "i", underline: "u", overline: "o", strike: "s", conceal: "conceal", control: "control" };

/** Returns the node of a span of text with its style. */
export function styled({ text, style }) {
  const classes = [];
  for (const flag in FLAGS) if (style[flag]) classes.push(FLAGS[flag]);
  if (typeof style.underline === "string") classes.push(`u-${style.underline}`);
  let { fg, bg } = style;
  if (style.reverse) {
    classes.push("reverse");
    [fg, bg] = [bg, fg];
  }
  if (typeof fg === "number") classes.push(`fg${fg}`);
  if (typeof bg === "number") classes.push(`bg${bg}`);
  const { lineColour: line, link } = style;
  const free = [fg, bg, line].some((colour) => typeof colour === "string") || line !== undefined;
  if (classes.length === 0 && !free && !link) return document.createTextNode(text);
  const made = element(link ? "a" : "span", classes.join(" "), text);
  const colour = style.conceal || style.control ? null : textColour(fg, bg, style.reverse === true);
  if (colour !== null) made.style.color = colour;
  if (typeof bg === "string") made.style.backgroundColor = bg;
  if (line !== undefined) made.style.textDecorationColor = typeof line === "string" ? line : `var(--a${line})`;
  if (link) setTarget(made, link);
  return made;
}

// The title shows the target, which the text of a terminal hyperlink may hide.
function setTarget(anchor, href) {
  anchor.classList.add("address");
  anchor.href = href;
  anchor.title = href;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
}
