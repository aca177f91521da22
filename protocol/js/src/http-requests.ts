// Requests to the server: where they go, who asks, and what an answer that is not a success says.

import type { ConnectOptions } from "./api.js";
import type { ErrorMessage } from "./messages.js";

/** What a status says where the body does not. The others are no answer of the server itself. */
const CODES: Record<number, string> = {
  401: "unauthenticated",
  403: "forbidden",
  413: "too_large",
  414: "limit",
  429: "rate_limited",
  431: "limit",
  503: "unavailable",
};

/** The server has answered, and will not do it. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly said: ErrorMessage,
  ) {
    super(said.message);
  }
}

/** A path beside that of the WebSocket. */
export type Path = "sse" | "poll" | "command";

/** What makes a request: `body` is JSON, and makes it a POST. */
export interface Call {
  query?: URLSearchParams | undefined;
  body?: string | undefined;
  signal: AbortSignal;
}

/**
 * Gives the answer when its head is there.
 *
 * @throws Refusal if the server has refused; another error if nobody, or somebody else, has answered
 */
export type Ask = (path: Path, token: string | undefined, call: Call) => Promise<Response>;

/** `url` is that of the WebSocket; its query goes with each request. */
export function createAsk(url: string, { tokenIn }: ConnectOptions): Ask {
  const { location } = globalThis as { location?: { href: string } };
  const address = new URL(url, location?.href);
  address.protocol = address.protocol.replace("ws", "http");

  return async (path, token, { query, body, signal }) => {
    const target = new URL(path, address);
    const params = new URLSearchParams([...address.searchParams, ...(query ?? [])]);
    const headers: Record<string, string> = {};
    if (token && tokenIn === "query") params.append("token", token);
    else if (token) headers["authorization"] = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    target.search = params.toString();
    const response = await fetch(target, {
      ...(body === undefined ? { cache: "no-store" } : { method: "POST", body }),
      // Cookies go with a WebSocket too.
      credentials: "include",
      headers,
      signal,
    });
    if (response.ok) return response;
    throw await refused(response, body !== undefined);
  };
}

/**
 * The whole body of an answer. Nothing of the request stays behind on a signal that outlives it, unlike with a signal that
 * is given to `fetch` itself.
 */
export async function bodyOf(signal: AbortSignal, ask: (signal: AbortSignal) => Promise<Response>): Promise<string> {
  signal.throwIfAborted();
  const own = new AbortController();
  const abort = (): void => own.abort();
  signal.addEventListener("abort", abort);
  try {
    return await (await ask(own.signal)).text();
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

async function refused(response: Response, isCommand: boolean): Promise<Error> {
  const { status, headers } = response;
  const said = (await response.json().catch(() => undefined)) as Partial<ErrorMessage> | undefined;
  // A server that serves no commands; another path may bring the channels.
  const code = said?.code ?? (isCommand && status === 404 ? "unknown_type" : CODES[status]);
  if (!code) return new Error(`HTTP status ${status}`);
  const retryAfterMs = said?.retry_after_ms ?? Number(headers.get("retry-after")) * 1_000;
  return new Refusal(status, {
    type: "error",
    code,
    message: said?.message ?? `HTTP status ${status}`,
    ...(said?.channel === undefined ? {} : { channel: said.channel }),
    ...(retryAfterMs > 0 ? { retry_after_ms: retryAfterMs } : {}),
  });
}

/** When a token expires, by what it says itself (RFC 7519, section 4.1.4): RFC 3339. Nothing if it does not say. */
export function expiryOf(token: string | undefined): string | undefined {
  try {
    const claims = JSON.parse(atob(token!.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/")));
    return new Date(claims.exp * 1_000).toISOString();
  } catch {
    return undefined;
  }
}
