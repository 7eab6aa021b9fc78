// Addresses in log text that become links: http and https only. Pure.

const URL_CHARS_MAX = 2000;
const ADDRESS = /\bhttps?:\/\/[^\s\u0000-\u001f\u007f-\u00a0<>"`{}|\\^\u200b-\u200f\u2028-\u202e\u2066-\u2069\u3000-\u3003\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]+/gi;
const TRAILING = /[.,;:!?'*_~\])…]$/;
const PAIRS = { ")": "(", "]": "[" };

/** Returns the address as a browser opens it, or null unless it is a plain http or https one. */
export function safeUrl(text) {
  if (text.length > URL_CHARS_MAX || /[\s\u0000-\u001f\u007f-\u009f]/.test(text)) return null;
  try {
    const url = new URL(text);
    // A user name before the host can disguise it: https://known.example@other.example.
    const plain = url.username === "" && url.password === "" && url.hostname !== "";
    return (url.protocol === "http:" || url.protocol === "https:") && plain ? url.href : null;
  } catch {
    return null;
  }
}

/** Returns the addresses in a text as `{ from, to, href }`; `cut` if the text goes on elsewhere. */
export function findUrls(text, cut = false) {
  if (!text.includes("://")) return [];
  const found = [];
  for (const match of text.matchAll(ADDRESS)) {
    // The end of this address is not known.
    if (cut && match.index + match[0].length === text.length) continue;
    const address = withoutPunctuation(match[0]);
    const href = safeUrl(address);
    if (href !== null) found.push({ from: match.index, to: match.index + address.length, href });
  }
  return found;
}

// Punctuation at the end belongs to the sentence, a closing bracket only if it was not opened inside.
function withoutPunctuation(address) {
  let end = address.length;
  while (end > 0 && TRAILING.test(address.slice(0, end))) {
    const last = address[end - 1];
    if (PAIRS[last] && count(address, PAIRS[last], end) >= count(address, last, end)) break;
    end -= 1;
  }
  return address.slice(0, end);
}

function count(text, character, end) {
  let found = 0;
  for (let i = 0; i < end; i += 1) if (text[i] === character) found += 1;
  return found;
}

/** Splits spans so that each address is a span of its own, with `style.link`. */
export function withLinks(spans, cut = false) {
  const text = spans.map((span) => span.text).join("");
  const urls = findUrls(text, cut);
  if (urls.length === 0) return spans;
  const parts = [];
  let at = 0;
  for (const span of spans) {
    let from = at;
    const end = at + span.text.length;
    const piece = (to, href) => {
      if (to <= from) return;
      const style = href && !span.style.link && !span.style.control ? { ...span.style, link: href } : span.style;
      parts.push({ text: text.slice(from, to), style });
      from = to;
    };
    for (const url of urls) {
      if (url.to <= from || url.from >= end) continue;
      piece(Math.max(from, url.from));
      piece(Math.min(end, url.to), url.href);
    }
    piece(end);
    at = end;
  }
  return parts;
}
