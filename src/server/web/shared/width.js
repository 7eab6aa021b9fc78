// The number of terminal columns that text takes. Pure.
//
// A user-perceived character (grapheme cluster) takes the columns of its first code point: two if it
// is wide in East Asian text or an emoji, none for combining marks and invisible characters.

import { WIDE_RANGES } from "./widths.js";

const ASCII = /^[\x20-\x7e]*$/;
const RUNS = /[\x20-\x7e]+|[^\x20-\x7e]+/g;
// Hangul vowels and finals join the syllable before.
const INVISIBLE = /^[\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff\ud7b0-\ud7fb]$/u;
const EMOJI = /^(?:\p{Emoji_Presentation}|\p{Regional_Indicator}{2})/u;
const EMOJI_STYLE = "\ufe0f";

const ends = [];
const starts = [];
let reached = 0;
for (const word of WIDE_RANGES.trim().split(" ")) {
  const [distance, length] = word.split(",").map((digits) => parseInt(digits, 36));
  starts.push(reached + distance);
  reached += distance + length;
  ends.push(reached);
}

/** Reports whether a code point is wide in East Asian text. */
function isWide(code) {
  if (code < starts[0]) return false;
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] < code) low = middle + 1;
    else high = middle;
  }
  return low < ends.length && code >= starts[low];
}

/** Returns the columns of one user-perceived character: 0, 1 or 2. */
export function clusterWidth(cluster) {
  const code = cluster.codePointAt(0);
  if (code < 0x300) return cluster.includes(EMOJI_STYLE) && /^\p{Emoji}/u.test(cluster) ? 2 : 1;
  const first = String.fromCodePoint(code);
  if (INVISIBLE.test(first)) return 0;
  if (isWide(code) || EMOJI.test(cluster)) return 2;
  return cluster.includes(EMOJI_STYLE) ? 2 : 1;
}

const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter("en", { granularity: "grapheme" }) : null;

/** Calls `put(cluster, width)` for each user-perceived character of a text without controls. */
export function eachCluster(text, put) {
  if (ASCII.test(text)) {
    for (let i = 0; i < text.length; i += 1) put(text[i], 1);
    return;
  }
  for (const [run] of text.matchAll(RUNS)) {
    if (run.charCodeAt(0) >= 0x20 && run.charCodeAt(0) <= 0x7e) {
      for (let i = 0; i < run.length; i += 1) put(run[i], 1);
    } else if (segmenter) {
      for (const { segment } of segmenter.segment(run)) put(segment, clusterWidth(segment));
    } else {
      for (const character of run) put(character, clusterWidth(character));
    }
  }
}
