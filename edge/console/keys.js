// Keyboard shortcuts, and the dialog that lists them. Single keys can be switched off (WCAG 2.1.4).

import { $, h } from "./dom.js";

const STORE = "tailwater.keys";

const isTyping = (target) => target.closest?.("input:not([type=checkbox]), textarea, select") !== null;
const takesSpace = (target) => target.closest?.("button, summary, a, input, [role=tab]") !== null;

/** `actions`: `[{keys: ["p", " "], label, run}]`. `escape` runs on Esc, wherever the focus is. */
export function bindKeys(actions, escape) {
  const dialog = $("help");
  const on = $("keys-on");
  try {
    on.checked = localStorage.getItem(STORE) !== "off";
    on.addEventListener("change", () => localStorage.setItem(STORE, on.checked ? "on" : "off"));
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }

  $("keys-list").replaceChildren(...actions.map(({ keys, label }) =>
    h("div", {}, h("dt", {}, ...keys.map((key) => h("kbd", {}, key === " " ? "Space" : key))), h("dd", {}, label))));
  $("help-open").addEventListener("click", () => dialog.showModal());
  $("help-close").addEventListener("click", () => dialog.close());

  const byKey = new Map(actions.flatMap((action) => action.keys.map((key) => [key, action])));
  document.addEventListener("keydown", (event) => {
    if (dialog.open) return;
    if (event.key === "Escape") {
      if (isTyping(event.target)) event.target.blur();
      else escape();
      return;
    }
    if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === " " && takesSpace(event.target)) return;
    const action = byKey.get(event.key);
    if (!action?.run) return;
    event.preventDefault();
    action.run();
  });
}
