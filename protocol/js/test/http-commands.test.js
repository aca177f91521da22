// What is sent by POST, with answers that say what the test wants.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createCommandSender } from "../dist/http-commands.js";
import { eventually } from "./support/index.js";

/** What is told and what fails when the answer to two commands is this. */
async function answered(...answer) {
  const told = [];
  const failures = [];
  const post = async () => JSON.stringify(answer);
  const send = createCommandSender(post, (message) => told.push(message), (error) => failures.push(error.message));
  for (const id of [1, 2]) send({ type: "publish", id, channel: "a", payload: id });
  await eventually(() => told.length === answer.length);
  return { told, failures };
}

test("a session that ends among its commands leaves none without an end", async () => {
  const published = (id) => ({ type: "published", id });
  assert.deepEqual((await answered(published(1), published(2))).failures, []);
  const expired = { type: "error", code: "token_expired", message: "the token has expired" };
  // A word about the session is no answer to a command.
  assert.deepEqual((await answered(expired, published(1), published(2))).failures, []);
  const close = { type: "close", code: 4401, reason: "the token has expired" };
  for (const answer of [[], [published(1)], [published(1), close], [expired, close]]) {
    const { told, failures } = await answered(...answer);
    assert.deepEqual(told, answer);
    assert.deepEqual(failures, ["not all was answered"]);
  }
});
