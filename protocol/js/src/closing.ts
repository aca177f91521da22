// What a close code of the server means for the client: the same advice as in `protocol/src/close.rs`. After every other
// code, and without one, the client connects again, with back-off or when `drain` said.

/** Not again: the same would happen, or it is not wanted. */
export const FINAL = [1000, 1002, 1003, 1007, 4410];

/** Again, but not with what was sent: a message was too large, and it would be so again. */
export const TOO_LARGE = 1009;

/** Not again: the token, or its user, was refused. */
export const REFUSED = [4400, 4403];

/** Again if there is a new token to be had: the old one has expired, or there was none. */
export const EXPIRED = [4401, 4408];
