// How long to wait before trying again.

/** Bounds of the wait before a reconnect, in milliseconds. */
export interface Backoff {
  /** The longest first wait: 1,000 if absent. Doubled with each attempt. */
  firstMs?: number | undefined;
  /** The longest wait of all: 30,000 if absent. */
  longestMs?: number | undefined;
}

/**
 * Exponential with full jitter: anything from nothing to the bound, so that clients which lost the same edge come back
 * spread over the whole time.
 *
 * @internal
 */
export const backoffMs = (attempt: number, { firstMs = 1_000, longestMs = 30_000 }: Backoff = {}): number =>
  Math.random() * Math.min(longestMs, firstMs * 2 ** attempt);
