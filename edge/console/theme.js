// Chooses the colour theme before the first paint, so that nothing flashes. A classic script, loaded
// in the head; the button is wired by `bindTheme`, which the pages' modules call.
(() => {
  const KEY = "tailwater.theme";
  const THEMES = ["system", "light", "dark"];

  const stored = () => {
    try {
      const name = localStorage.getItem(KEY);
      return THEMES.includes(name) ? name : "system";
    } catch {
      return "system"; // storage may be forbidden
    }
  };

  const apply = (name) => {
    document.documentElement.dataset.theme = name;
  };

  const next = () => {
    const name = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // The choice then lasts as long as the page.
    }
    apply(name);
    return name;
  };

  apply(stored());
  globalThis.tailwaterTheme = { next, current: () => document.documentElement.dataset.theme };
})();
