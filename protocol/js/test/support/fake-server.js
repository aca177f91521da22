// A server that says what a test wants, where the real edge cannot be brought to say it.

import { once } from "node:events";
import { WebSocketServer } from "ws";

/** `answer(command, connection)` is called for each command; what it returns is sent, with the command's id. */
export async function startFakeServer({ answer, welcome = true, pingIntervalMs = 25_000 } = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: (offered) => [...offered][0] });
  await once(server, "listening");
  const connections = [];
  server.on("connection", (socket, request) => {
    const send = (message) => socket.send(JSON.stringify(message));
    const connection = { socket, request, commands: [], openedAt: Date.now(), send, isOpen: true };
    socket.on("close", (code) => Object.assign(connection, { isOpen: false, closedWith: code }));
    socket.on("message", (data) => {
      const command = JSON.parse(data);
      connection.commands.push(command);
      const reply = (answer ?? answerAll)(command, connection) ?? answerAll(command);
      if (reply && reply !== "nothing") send({ ...reply, id: command.id });
    });
    connections.push(connection);
    if (welcome) send(connected(pingIntervalMs));
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    connections,
    /** The newest connection. */
    get last() {
      return connections.at(-1);
    },
    async stop() {
      for (const { socket } of connections) socket.terminate();
      server.close();
    },
  };
}

export const connected = (ping_interval_ms = 25_000, more = {}) => ({
  type: "connected",
  session: "s-1",
  protocol: 1,
  message: "Welcome!",
  ping_interval_ms,
  ...more,
});

function answerAll(command) {
  switch (command.type) {
    case "subscribe":
      return { type: "subscribed", channel: command.channel, durable: false };
    case "unsubscribe":
      return { type: "unsubscribed", channel: command.channel };
    case "publish":
      return { type: "published" };
    case "ping":
      return { type: "pong" };
    case "refresh":
      return { type: "refreshed" };
    default:
      return undefined;
  }
}
