// URL fragments that mark lines: `#L120` and `#L120-L140`.

/** Returns the lines of a fragment as `{ first, last }`, or null. */
export function parseLink(hash) {
  const match = /^#L(\d{1,15})(?:-L?(\d{1,15}))?$/.exec(hash);
  if (!match) return null;
  const a = Number(match[1]);
  const b = match[2] === undefined ? a : Number(match[2]);
  return a < 1 || b < 1 ? null : { first: Math.min(a, b), last: Math.max(a, b) };
}

/** Returns the fragment for a range. */
export function linkOf({ first, last }) {
  return first === last ? `#L${first}` : `#L${first}-L${last}`;
}

/** Returns the range between two lines in any order; only line `b` if `a` is undefined. */
export function stretch(a, b) {
  return { first: Math.min(a ?? b, b), last: Math.max(a ?? b, b) };
}
