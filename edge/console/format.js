// How figures, times and payloads are written.

const whole = new Intl.NumberFormat("en");
const two = (n) => String(n).padStart(2, "0");

export const count = (n) => whole.format(n);

/** 980, 12.3k, 4.56M */
export function short(n) {
  if (n < 10_000) return count(Math.round(n));
  if (n < 1_000_000) return `${(n / 1000).toFixed(n < 100_000 ? 1 : 0)}k`;
  return `${(n / 1_000_000).toFixed(2)}M`;
}

export function rate(n) {
  if (n === 0) return "0";
  return n < 10 ? n.toFixed(1) : short(n);
}

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(n < 10_240 ? 1 : 0)} KB`;
  return `${(n / 1024 / 1024).toFixed(1)} MB`;
}

export function duration(ms) {
  const size = Math.abs(ms);
  if (size < 10) return `${ms.toFixed(1)} ms`;
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (size < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** 1:05, or 1:02:03 */
export function elapsed(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(seconds / 3600);
  const rest = `${hours ? two(Math.floor(seconds / 60) % 60) : Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** 14:03:59.120 */
export function clock(at, withMillis = true) {
  const date = new Date(at);
  const base = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withMillis ? `${base}.${String(date.getMilliseconds()).padStart(3, "0")}` : base;
}

const encoder = new TextEncoder();

/** Bytes of a text in UTF-8, cheap for plain ASCII. */
export function utf8Length(text) {
  return /^[\x00-\x7f]*$/.test(text) ? text.length : encoder.encode(text).length;
}

/** A payload's own time in ms since 1970, from `ts` or `time` (ms, s or ISO 8601); undefined if it has none. */
export function payloadTime(payload) {
  if (payload === null || typeof payload !== "object") return undefined;
  const value = payload.ts ?? payload.time;
  if (typeof value === "number") {
    if (value > 1e12 && value < 1e13) return value;
    if (value > 1e9 && value < 1e10) return value * 1000;
    return undefined;
  }
  if (typeof value !== "string" || !/^\d{4}-\d\d-\d\d[T ]/.test(value)) return undefined;
  const time = Date.parse(value);
  return Number.isNaN(time) ? undefined : time;
}
