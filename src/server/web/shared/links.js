// `#L120` and `#L120-L140`: what the address marks.

/** `{ first, last }` of a fragment, or null. */
export function parseLink(hash) {
  const match = /^#L(\d{1,15})(?:-L?(\d{1,15}))?$/.exec(hash);
  if (!match) return null;
  const a = Number(match[1]);
  const b = match[2] === undefined ? a : Number(match[2]);
  return a < 1 || b < 1 ? null : { first: Math.min(a, b), last: Math.max(a, b) };
}

/** The fragment of a range. */
export function linkOf({ first, last }) {
  return first === last ? `#L${first}` : `#L${first}-L${last}`;
}

/** The range between two lines, whichever is first; one line if there is only one. */
export function stretch(a, b) {
  return { first: Math.min(a ?? b, b), last: Math.max(a ?? b, b) };
}
