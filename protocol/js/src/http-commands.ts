// Sends commands by POST. Those whose order counts go one request after the other, many in one if they come together;
// a question to a service may take long, so it goes alone, beside the others.

import { fromJson, json } from "./codec.js";
import { Refusal } from "./http-requests.js";
import type { Command, ServerMessage } from "./messages.js";

/** What one request holds at most: commands, and characters unless it is one command. */
const MOST_COMMANDS = 64;
const MOST_CHARACTERS = 16 * 1024;

/** Questions to services that may be under way at a time; a browser has few connections to a server. */
const MOST_QUESTIONS = 3;

/** Refusals of a request that are about what it holds; others are about who asks, or about all of it. */
const OF_COMMANDS = [400, 404, 413, 429, 500, 503, 504];

interface Waiting {
  id: number | undefined;
  text: string;
}

/**
 * Sends commands with `post`, which gives the text of the answer. `tell` gets the replies, `failed` why there will be
 * none. What waits is bounded by the client: commands that wait or are under way are counted there.
 */
export function createCommandSender(
  post: (body: string) => Promise<string>,
  tell: (message: ServerMessage) => void,
  failed: (error: unknown) => void,
): (command: Command) => void {
  const carryOut = async (batch: Waiting[]): Promise<void> => {
    try {
      const replies = JSON.parse(await post(`[${batch.map(({ text }) => text).join()}]`)) as (ServerMessage & { id?: number })[];
      replies.map(fromJson).forEach(tell);
      // The server has ended the session in the middle, and may have said so among the replies.
      const answered = new Set(replies.map(({ id }) => id));
      if (batch.some(({ id }) => !answered.has(id))) failed(new Error("not all was answered"));
    } catch (error) {
      if (error instanceof Refusal && error.status === 413 && batch.length > 1) {
        // Together they were too large: one by one.
        for (const one of batch) await carryOut([one]);
        return;
      }
      if (!(error instanceof Refusal && OF_COMMANDS.includes(error.status))) return failed(error);
      const { said } = error;
      for (const { id } of batch) tell(id === undefined ? said : { ...said, id });
    }
  };

  /** Sends batches of at most so many commands, at most so many at a time. */
  const createLane = (mostCommands: number, mostAtATime: number): ((command: Waiting) => void) => {
    const waiting: Waiting[] = [];
    let underWay = 0;
    const pump = (): void => {
      if (!waiting.length || underWay >= mostAtATime) return;
      let count = 0;
      for (let length = 0; count < waiting.length && count < mostCommands; count += 1) {
        length += waiting[count]!.text.length;
        if (count && length > MOST_CHARACTERS) break;
      }
      underWay += 1;
      void carryOut(waiting.splice(0, count)).then(() => {
        underWay -= 1;
        pump();
      });
    };
    return (command) => {
      waiting.push(command);
      queueMicrotask(pump);
    };
  };

  const inOrder = createLane(MOST_COMMANDS, 1);
  const beside = createLane(1, MOST_QUESTIONS);
  return (command) => {
    const one = { id: command.id, text: json.encode(command) as string };
    if (command.type === "request") beside(one);
    else inOrder(one);
  };
}
