// Colours that a program chose, made readable on this page: at least 4.5 to 1 against their background (WCAG AA).

const RATIO_MIN = 4.5;
const STEPS = 20;
const PREFERENCE = "(prefers-color-scheme: light)";
const light = globalThis.matchMedia?.(PREFERENCE);
let theme = new Map();
// The rules with the light colours.
let lightRules = null;
const listeners = [() => (theme = new Map())];
const changed = () => {
  for (const listener of listeners) listener();
};
light?.addEventListener("change", changed);

/** Calls `listener()` when the colours of the page change. */
export function onThemeChange(listener) {
  listeners.push(listener);
}

/** Sets the colours to those of "light" or "dark"; any other name restores those that the browser prefers. */
export function setTheme(name) {
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
  lightRules ??= rules.filter((rule) => rule instanceof CSSMediaRule && rule.media.mediaText === PREFERENCE);
  for (const rule of lightRules) rule.media.mediaText = { light: "all", dark: "not all" }[name] ?? PREFERENCE;
  changed();
}

/** Returns the three channels of "#rrggbb". */
function channels(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

const hex = (rgb) => `#${rgb.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

function luminance(colour) {
  const [r, g, b] = channels(colour).map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Returns the contrast of two colours "#rrggbb", from 1 to 21. */
export function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** Returns `colour`, moved towards black or white until it is readable on every one of `backgrounds`. */
export function readable(colour, backgrounds) {
  const enough = (made) => backgrounds.every((background) => contrast(made, background) >= RATIO_MIN);
  if (enough(colour)) return colour;
  const end = contrast("#ffffff", backgrounds[0]) > contrast("#000000", backgrounds[0]) ? 255 : 0;
  const from = channels(colour);
  for (let step = 1; step < STEPS; step += 1) {
    const made = hex(from.map((part) => part + ((end - part) * step) / STEPS));
    if (enough(made)) return made;
  }
  return end === 255 ? "#ffffff" : "#000000";
}

/** Returns the colour of a CSS variable of the page, "#rrggbb". */
function ofTheme(name) {
  if (!theme.has(name)) {
    const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    theme.set(name, value.length === 4 ? value.replace(/[^#]/g, "$&$&") : value);
  }
  return theme.get(name);
}

const resolved = (colour, name) => (colour === undefined || colour === null ? ofTheme(name) : typeof colour === "number" ? ofTheme(`--a${colour}`) : colour);

/**
 * Returns the text colour for a span, or null if the colour of its class is readable: `fg` and `bg` are indices of the
 * palette, "#rrggbb", or undefined; `reverse` exchanges the defaults of the page.
 */
export function textColour(fg, bg, reverse = false) {
  const own = reverse || (bg !== undefined && bg !== null);
  if (!own && typeof fg !== "string") return null;
  const [text, page] = reverse ? ["--bg", "--text"] : ["--text", "--bg"];
  const backgrounds = own ? [resolved(bg, page)] : [ofTheme("--bg"), ofTheme("--stderr-bg"), ofTheme("--hover")];
  return readable(resolved(fg, text), backgrounds);
}
