// The tab's icon carries the state: a colour and a shape, as a data: URI.

const SHAPES = {
  idle: ["#8b949e", "M4 5h8M4 8h8M4 11h5"],
  running: ["#3b82f6", "M6 4.5v7l5.5-3.5z"],
  ok: ["#1f9d55", "M4.2 8.3l2.6 2.6 5-5.4"],
  failed: ["#d1383d", "M5 5l6 6M11 5l-6 6"],
  lost: ["#b7791f", "M8 4v5M8 11.4v.4"],
  aborted: ["#6b7280", "M5 8h6"],
  offline: ["#b7791f", "M5 8h6"],
};

/** Sets the tab's icon to a state of SHAPES. */
export function setIcon(state) {
  const [colour, path] = SHAPES[state] ?? SHAPES.idle;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="${colour}"/>` +
    `<path d="${path}" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  const link = document.querySelector('link[rel="icon"]');
  if (link.href !== href) link.href = href;
}
