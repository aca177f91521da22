// What the client needs of a carrier of messages.

import type { ConnectOptions } from "./api.js";
import type { Command, ServerMessage } from "./messages.js";

/** Carries messages between client and server: `auto`, `sse` and `polling` of `tailwater/http`. */
export interface Transport {
  readonly name: string;
  /** @internal */
  (url: string, options: ConnectOptions): OpenLink;
}

/** @internal What a link tells. */
export interface LinkEvents {
  /**
   * Commands may be sent. `early`: only those that begin subscriptions, before `connected`, which comes with their
   * answers.
   */
  opened(early?: boolean): void;
  message(message: ServerMessage): void;
  /** The link has ended, with a close code if it has one. Whoever hears it closes the link. */
  ended(code?: number, reason?: string): void;
}

/** @internal One connection. */
export interface Link {
  /** What the state says of it. */
  readonly transport: TransportName;
  send(command: Command): void;
  /** Ends it. Nothing is told from here on, not even the end. */
  close(): void;
}

/** @internal Opens a link, with a token if that may be part of the handshake. It tells nothing before it has returned. */
export type OpenLink = (token: string | undefined, events: LinkEvents) => Link;

/** How messages travel. */
export type TransportName = "websocket" | "sse" | "polling";
