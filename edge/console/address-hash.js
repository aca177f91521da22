// The channels stand in the address, so that a link can be shared: #channels=deployments.*.status,chat.room&off=chat.room

/** `[{name, on}]` from the address. */
export function readHash() {
  const fields = new URLSearchParams(location.hash.slice(1));
  const names = (field) => (fields.get(field) ?? "").split(",").map((name) => name.trim()).filter(Boolean);
  const off = new Set(names("off"));
  return [...new Set(names("channels"))].map((name) => ({ name, on: !off.has(name) }));
}

/** Writes them without a new entry in the history. */
export function writeHash(channels) {
  const names = (list) => list.map(({ name }) => encodeURIComponent(name).replaceAll("%3E", ">")).join(",");
  const off = channels.filter(({ on }) => !on);
  const hash = channels.length ? `#channels=${names(channels)}${off.length ? `&off=${names(off)}` : ""}` : "";
  history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
}
