// When a token is to be replaced.

/** Refreshed this long before it expires. */
const MARGIN_MS = 30_000;

/** Not more often than this, whatever the clock of this machine says: the server tells when a token has expired. */
const LEAST_MS = 5_000;

/** The longest that `setTimeout` can wait. */
const MOST_MS = 2 ** 31 - 1;

/** In how many milliseconds to fetch a new token for one that expires then (RFC 3339). */
export const refreshInMs = (expiresAt: string): number =>
  Math.min(MOST_MS, Math.max(LEAST_MS, Date.parse(expiresAt) - Date.now() - MARGIN_MS || 0));
