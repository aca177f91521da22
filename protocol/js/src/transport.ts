// What the client needs of a carrier of messages.

import type { Command, ServerMessage } from "./messages.js";

/** What a link tells. */
export interface LinkEvents {
  /** Commands may be sent. */
  opened(): void;
  message(message: ServerMessage): void;
  /** The link has ended, with a close code if it has one. Whoever hears it closes the link. */
  ended(code?: number, reason?: string): void;
}

/** One connection. */
export interface Link {
  send(command: Command): void;
  /** Ends it. Nothing is told from here on, not even the end. */
  close(): void;
}

/** Opens a link, with a token if that may be part of the handshake. It tells nothing before it has returned. */
export type Transport = (token: string | undefined, events: LinkEvents) => Link;
