// Notices a connection that is dead without having said so. Browsers answer the server's pings unseen, so silence is
// measured by messages: after two of the server's intervals we ask, and something must come.

/** How long the server has to answer a ping. */
const ANSWER_MS = 10_000;

export interface Heartbeat {
  /** Begins to watch a connection whose server pings this often. */
  start(intervalMs: number): void;
  stop(): void;
  /** Something came. */
  heard(): void;
  /** Asks now: there is reason to doubt, such as a page that was frozen. */
  probe(): void;
}

/** `ping` asks the server for a sign of life, `dead` is told if none comes. */
export function createHeartbeat(ping: () => void, dead: () => void): Heartbeat {
  let quietMs = 0;
  let heardAt = 0;
  let asked = false;
  let timer: ReturnType<typeof setTimeout>;

  const stop = (): void => clearTimeout(timer);
  const heard = (): void => {
    heardAt = Date.now();
    asked = false;
  };
  const probe = (): void => {
    if (asked) return;
    asked = true;
    stop();
    timer = setTimeout(() => (asked ? dead() : watch()), ANSWER_MS);
    ping();
  };
  // One timer that is set anew only when it fires, not with each message.
  const watch = (): void => {
    const leftMs = quietMs - (Date.now() - heardAt);
    if (leftMs <= 0) probe();
    // A clock that was set back must not make the wait longer.
    else timer = setTimeout(watch, Math.min(leftMs, quietMs));
  };
  return {
    start(intervalMs) {
      stop();
      quietMs = 2 * intervalMs;
      heard();
      watch();
    },
    stop,
    heard,
    probe,
  };
}
