// Transports over plain HTTP, for networks that let no WebSocket through: an entry of its own, so that who does not need
// them does not load them.

export { auto, fallback } from "./auto.js";
export { polling } from "./polling.js";
export { sse } from "./sse.js";
export type { FallbackOptions } from "./auto.js";
export type { Transport } from "./transport.js";
