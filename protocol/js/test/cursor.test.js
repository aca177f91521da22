import assert from "node:assert/strict";
import { test } from "node:test";
import { createCursor } from "../dist/cursor.js";

const update = (offset, subject) => ({ type: "update", channel: "c", payload: 0, offset, subject });
const position = (offset, epoch = "e") => ({ type: "position", channel: "c", offset, epoch });
const lost = (more) => ({ type: "lost", channel: "c", ...more });

test("an exact channel resumes behind its last update", () => {
  const cursor = createCursor("a.b");
  assert.equal(cursor.position(), undefined);
  cursor.apply(position(0));
  assert.equal(cursor.apply(update(7)), true);
  assert.deepEqual(cursor.position(), { offset: 7, epoch: "e" });
});

test("an update that was there already is left out", () => {
  const cursor = createCursor("a.b");
  cursor.apply(position(5));
  assert.deepEqual([4, 5, 6, 6, 9, 8].map((offset) => cursor.apply(update(offset))), [false, false, true, false, true, false]);
});

test("a pattern resumes from its last position, and knows by subject what came behind it", () => {
  const cursor = createCursor("a.*");
  cursor.apply(position(5));
  assert.equal(cursor.apply(update(9, "a.x")), true);
  assert.equal(cursor.apply(update(7, "a.y")), true, "order holds for each subject only");
  assert.deepEqual(cursor.position(), { offset: 5, epoch: "e" });
  assert.deepEqual([update(9, "a.x"), update(7, "a.y"), update(8, "a.x")].map(cursor.apply), [false, false, false]);
  cursor.apply(position(8));
  assert.deepEqual([...cursor.seen], [["a.x", 9]], "what lies before the position is forgotten");
  assert.equal(cursor.apply(update(7, "a.y")), false);
});

test("a position never leads back within an epoch", () => {
  const cursor = createCursor("a.*");
  cursor.apply(position(8));
  cursor.apply(position(3));
  assert.deepEqual(cursor.position(), { offset: 8, epoch: "e" });
});

test("in a new epoch offsets count afresh", () => {
  for (const channel of ["a", "a.*"]) {
    const cursor = createCursor(channel);
    cursor.apply(position(5));
    cursor.apply(update(9, "a.x"));
    cursor.apply(lost({ reason: "epoch_changed" }));
    assert.equal(cursor.apply(update(1, "a.x")), true);
    cursor.apply(position(1, "f"));
    assert.deepEqual(cursor.position(), { offset: 1, epoch: "f" });
  }
});

test("what was trimmed is not asked for again on an exact channel", () => {
  const cursor = createCursor("a");
  cursor.apply(position(5));
  cursor.apply(lost({ from: 6, to: 40, reason: "trimmed" }));
  assert.deepEqual(cursor.position(), { offset: 40, epoch: "e" });
});

test("the subjects remembered of a pattern are bounded", () => {
  const cursor = createCursor("a.*");
  cursor.apply(position(0));
  for (let offset = 1; offset <= 70_000; offset += 1) cursor.apply(update(offset, `a.${offset}`));
  assert.equal(cursor.seen.size, 65_536);
});

test("live updates have no offset and are never left out", () => {
  const cursor = createCursor("a");
  assert.equal(cursor.apply({ type: "update", channel: "a", payload: 0 }), true);
  assert.equal(cursor.position(), undefined);
});
