// A short message at the bottom of the page, which assistive technology announces.

const SHOWN_MS = 6000;

let box = null;
let timer = null;

/** Shows a message for some seconds, in place of the one before. */
export function say(words) {
  if (box === null) {
    box = document.createElement("p");
    box.id = "toast";
    box.className = "toast";
    box.setAttribute("role", "status");
    document.body.append(box);
  }
  clearTimeout(timer);
  box.textContent = words;
  box.hidden = false;
  timer = setTimeout(() => (box.hidden = true), SHOWN_MS);
}
