// JSON as a tree that opens and closes. Branches are built when they are opened, so a large payload costs
// no more than what is looked at.

import { h } from "./dom.js";

const OPEN_DEPTH = 3;
const CHILDREN_AT_ONCE = 100;
const STRING_CHARS = 2_000;

/** An element that shows a JSON value. */
export function jsonTree(value) {
  return h("div", { class: "json mono" }, node(null, value, 0));
}

function node(key, value, depth) {
  const label = key === null ? [] : [h("span", { class: typeof key === "number" ? "json-index" : "json-key" }, String(key)), ": "];
  if (value === null || typeof value !== "object") return h("div", { class: "json-leaf" }, ...label, leaf(value));

  const isArray = Array.isArray(value);
  const keys = isArray ? value.keys() : Object.keys(value);
  const total = isArray ? value.length : keys.length;
  if (total === 0) return h("div", { class: "json-leaf" }, ...label, h("span", { class: "json-mark" }, isArray ? "[]" : "{}"));

  const summary = h("summary", {}, ...label, h("span", { class: "json-mark" }, isArray ? `[${total}]` : `{${total}}`));
  const branch = h("details", { class: "json-branch" }, summary);
  const build = () => branch.children.length === 1 && branch.append(children(value, [...keys], depth + 1));
  if (depth < OPEN_DEPTH && total <= CHILDREN_AT_ONCE) {
    branch.open = true;
    build();
  } else {
    branch.addEventListener("toggle", build, { once: true });
  }
  return branch;
}

function children(value, keys, depth) {
  const list = h("div", { class: "json-children" });
  const more = (from) => {
    list.append(...keys.slice(from, from + CHILDREN_AT_ONCE).map((key) => node(key, value[key], depth)));
    const rest = keys.length - from - CHILDREN_AT_ONCE;
    if (rest <= 0) return;
    const button = h("button", { class: "button small", type: "button" }, `${rest} more`);
    button.addEventListener("click", () => {
      button.remove();
      more(from + CHILDREN_AT_ONCE);
    });
    list.append(button);
  };
  more(0);
  return list;
}

function leaf(value) {
  if (typeof value !== "string") return h("span", { class: value === null ? "json-null" : `json-${typeof value}` }, String(value));
  const cut = value.length > STRING_CHARS;
  const text = cut ? value.slice(0, STRING_CHARS) : value;
  return h("span", { class: "json-string" }, JSON.stringify(text), cut && h("span", { class: "json-mark" }, ` … ${value.length} characters`));
}
