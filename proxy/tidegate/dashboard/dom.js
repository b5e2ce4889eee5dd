// Makes elements. Text is always text: nothing of what a server or a client sent becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML. */
export const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** An element of SVG. */
export const s = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

/** A table: columns are [title, cell of a row, class]. One of many columns is folded where there is no room beside each other. */
export function table(rows, columns, empty) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = columns.map(([title, , kind]) => h("th", { class: kind, scope: "col" }, title));
  const body = rows.map((row) => h("tr", null, columns.map(([title, cell, kind]) => {
    const shown = cell(row);
    const made = shown instanceof HTMLTableCellElement ? shown : h("td", { class: kind }, shown);
    made.dataset.label = title;
    return made;
  })));
  return h("div", { class: "scroll" }, h("table", { class: columns.length > 4 && "fold" }, h("thead", null, h("tr", null, head)), h("tbody", null, body)));
}

/** Puts new content in the place of old, and keeps focus, open details and what was scrolled sideways. */
export function replace(place, ...children) {
  const scrolled = [...place.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  const open = new Set([...place.querySelectorAll("details[open][data-key]")].map((element) => element.dataset.key));
  place.replaceChildren(...children.flat(9).filter(Boolean));
  place.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] ?? 0; });
  place.querySelectorAll("details[data-key]").forEach((element) => { element.open = open.has(element.dataset.key); });
}

export const pill = (kind, text) => h("span", { class: `pill ${kind}` }, text);
