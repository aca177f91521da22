// How far a subscription has come: where to resume, and which publications it had already. No I/O.
//
// On an exact channel the offset of the last update is both. On a pattern order holds for each subject only, so a
// resume is safe from the last `position`, and what came behind it is known by subject.

import type { Position, ServerMessage } from "./messages.js";

/** Subjects remembered behind the last `position`. The server sends one before it comes to as many itself. */
const MOST_SUBJECTS = 65_536;

export interface Cursor {
  /** Where a resume is safe; nothing: the subscription has to start as it was asked to. */
  position(): Position | undefined;
  /** Of a pattern: the last offset of each subject behind the position. */
  readonly seen: ReadonlyMap<string, number>;
  /** What follows is of this epoch. */
  begin(epoch: string | undefined): void;
  /** Takes in a message of the subscription; false if it is an update that was there already. */
  apply(message: ServerMessage): boolean;
}

export function createCursor(channel: string): Cursor {
  const isPattern = /[*>]/.test(channel);
  const seen = new Map<string, number>();
  let offset: number | undefined;
  let epoch: string | undefined;

  const begin = (next: string | undefined): void => {
    if (next === epoch) return;
    seen.clear();
    offset = undefined;
    epoch = next;
  };
  /** Everything up to here is there. */
  const reach = (next: number | undefined): void => {
    // Nothing is smaller than or equal to `undefined`.
    if (next === undefined || next <= offset!) return;
    offset = next;
    for (const [subject, last] of seen) if (last <= next) seen.delete(subject);
  };
  const isNew = (subject: string, next: number): boolean => {
    if (next <= offset! || next <= seen.get(subject)!) return false;
    if (!isPattern) {
      offset = next;
      return true;
    }
    seen.delete(subject);
    seen.set(subject, next);
    if (seen.size > MOST_SUBJECTS) seen.delete(seen.keys().next().value!);
    return true;
  };

  return {
    position: () => (offset === undefined ? undefined : { offset, epoch: epoch! }),
    seen,
    begin,
    apply(message) {
      if (message.type === "update") {
        return message.offset === undefined || isNew(message.subject ?? "", message.offset);
      }
      if (message.type === "position") {
        begin(message.epoch);
        reach(message.offset);
      } else if (message.type === "lost") {
        if (message.reason === "epoch_changed") {
          seen.clear();
          offset = 0;
        } else if (!isPattern) reach(message.to);
      }
      return true;
    },
  };
}
