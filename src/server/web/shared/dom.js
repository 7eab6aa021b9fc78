// Small helpers for elements.

/** Returns the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Sets an element's text; leaves it untouched if it has that text already, to keep selections. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Creates an element with properties and children. */
export function make(name, properties, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

/** Creates an element with a class and, optionally, a text. */
export function element(tag, className, text) {
  const created = document.createElement(tag);
  created.className = className;
  if (text !== undefined) created.textContent = text;
  return created;
}
