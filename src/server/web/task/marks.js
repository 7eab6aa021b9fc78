// Marks beside the scroll bar: where the search hits are, and the errors. One canvas, whatever their number.

const HIT_PX = 2;

/** The marks of a log. */
export class ScrollMarks {
  constructor(canvas, viewport) {
    this.canvas = canvas;
    this.viewport = viewport;
    this.key = "";
  }

  /** Draws marks for the lines `hits` and `errors` of a log from `first` to `last`, if something changed. */
  draw({ first, last, hits, errors }) {
    const { canvas, viewport } = this;
    const height = viewport.clientHeight;
    const ratio = globalThis.devicePixelRatio ?? 1;
    const bar = viewport.offsetWidth - viewport.clientWidth;
    const dark = getComputedStyle(document.documentElement).colorScheme;
    const key = [first, last, hits.length, hits[0], errors.length, errors[0], height, ratio, bar, dark].join(" ");
    if (key === this.key) return;
    this.key = key;
    canvas.dataset.marks = String(hits.length + errors.length);
    canvas.style.right = `${bar}px`;
    canvas.hidden = hits.length + errors.length === 0;
    if (canvas.hidden) return;
    canvas.width = Math.round(5 * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    this.paint(context, style.getPropertyValue("--marked-bar"), hits, { first, last, ratio });
    this.paint(context, style.getPropertyValue("--bad"), errors, { first, last, ratio });
  }

  paint(context, colour, lines, { first, last, ratio }) {
    context.fillStyle = colour.trim();
    const size = Math.max(1, Math.round(HIT_PX * ratio));
    const scale = Math.max(0, context.canvas.height - size) / Math.max(1, last - first);
    let drawn = -1;
    for (const n of lines) {
      const y = Math.round((n - first) * scale);
      if (y === drawn) continue;
      drawn = y;
      context.fillRect(0, y, context.canvas.width, size);
    }
  }
}
