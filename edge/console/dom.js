// Small helpers to build the page. Text always goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** `h("a", {href: "/", class: "x", onclick: f}, "text", child)`: an element with its properties and children. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// 16 × 16, stroked with the text's colour.
const ICONS = {
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6l7.5-4.8z",
  clear: "M3 4.5h10M6.5 4.5v-1.5h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  copy: "M6 6h7v7h-7zM3.5 10h-.5v-7h7v.5",
  check: "M3 8.5l3.2 3.2 6.8-7.2",
  close: "M4 4l8 8M12 4l-8 8",
  keyboard: "M2 4.5h12v7h-12zM4.5 7h.01M7 7h.01M9.3 7h.01M11.6 7h.01M5.5 9.3h5",
  system: "M2.5 3.5h11v7h-11zM6 13h4M8 10.5v2.5",
  light: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  dark: "M13 9.6A5.4 5.4 0 1 1 6.4 3a4.3 4.3 0 0 0 6.6 6.6z",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  back: "M6 4.5l-3 3 3 3M3 7.5h6.5a3 3 0 0 1 0 6h-2",
};

const SVG = "http://www.w3.org/2000/svg";

/** A decorative icon; its meaning must stand in the text or label beside it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Puts icons into every `[data-icon]` of the page. */
export function placeIcons() {
  for (const place of document.querySelectorAll("[data-icon]")) place.replaceChildren(icon(place.dataset.icon));
}

/** Makes a button change the theme: system, light, dark. */
export function bindTheme(button) {
  const show = (name) => {
    button.replaceChildren(icon(name));
    button.setAttribute("aria-label", `Theme: ${name}`);
  };
  button.addEventListener("click", () => show(globalThis.tailwaterTheme.next()));
  show(globalThis.tailwaterTheme.current());
}

/** Copies text, and says on the button whether that worked. */
export async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = copyBySelection(text); // pages on plain http other than localhost have no clipboard
  }
  if (button) flash(button, done ? "Copied" : "Select and copy by hand");
  return done;
}

function copyBySelection(text) {
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

function flash(button, text) {
  const label = button.querySelector(".button-text");
  if (!label || button.dataset.flashing) return;
  const before = label.textContent;
  button.dataset.flashing = "yes";
  label.textContent = text;
  setTimeout(() => {
    label.textContent = before;
    delete button.dataset.flashing;
  }, 1400);
}

/** A button that copies what `text()` returns at that moment. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { class: "button small", type: "button" }, icon("copy"), h("span", { class: "button-text" }, label));
  button.addEventListener("click", () => copy(text(), button));
  return button;
}
