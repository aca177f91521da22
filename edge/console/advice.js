// What to do about each error code, in the place where the error happened.

import { h } from "./dom.js";

const ADVICE = {
  bad_message: "The name or the payload is not well formed. Names are tokens of letters, digits, _ and - with dots between; wildcards may not come first.",
  unknown_type: "This server does not know the command; it may be older than this page.",
  unauthenticated: "This server wants a token first. Add ?token=… to the address.",
  token_expired: "Fetch a new token and connect again.",
  forbidden: "The server's configuration does not allow you this. A pattern must begin with a literal name, as in deployments.*.",
  no_such_channel: "No namespace of the configuration has this name. Check the spelling, or add a namespace.",
  limit: "A limit of this connection is reached. Remove subscriptions that you do not need.",
  rate_limited: "Too many in a short time. Wait a moment and try again.",
  unavailable: "NATS is away at the moment. Try again in a few seconds.",
  timeout: "The server did not answer in time. Try again.",
  too_large: "Send less at once, or raise the limit in the configuration.",
  internal: "The server's log has the cause.",
  disconnected: "The page reconnects by itself; then try again.",
};

/** An error as a small card: code, message, what to do; `more` stands below. */
export function trouble(error, advice, ...more) {
  return h("div", { class: "trouble-card" },
    h("p", {}, h("code", { class: "code" }, error.code ?? "error"), " ", error.message),
    h("p", { class: "advice" }, advice ?? ADVICE[error.code] ?? ""),
    ...more,
  );
}
