// Announces changes of state to assistive technology, without moving the focus.

/** Announces a message, unless it is the one announced last. */
export function announce(words) {
  const region = document.getElementById("announcement");
  if (region && region.textContent !== words) region.textContent = words;
}
