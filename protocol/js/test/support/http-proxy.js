// An HTTP proxy as they stand in offices and hotels: it may refuse WebSockets, and keep streams until they end.

import { createServer, request as forward } from "node:http";
import { connect } from "node:net";
import { once } from "node:events";

/** Forwards to the address of `url`; its own is `url`. What it lets through may be changed at any time. */
export async function startHttpProxy(target, { upgrades = "pass", streams = "pass" } = {}) {
  const { hostname, port } = new URL(target);
  const lets = { upgrades, streams };
  const requests = [];
  const sockets = new Set();

  const server = createServer((incoming, outgoing) => {
    const { method, url, headers } = incoming;
    requests.push(`${method} ${url}`);
    const upstream = forward({ hostname, port, method, path: url, headers, agent: false });
    const isEventStream = url.startsWith("/sse");
    outgoing.on("close", () => upstream.destroy());
    upstream.on("error", () => outgoing.destroy());
    upstream.on("response", (answer) => {
      answer.on("error", () => outgoing.destroy());
      // Ends as the stream behind it does, whole or not.
      answer.on("aborted", () => outgoing.destroy());
      if (lets.streams === "pass" || !isEventStream) {
        outgoing.writeHead(answer.statusCode, answer.headers);
        outgoing.flushHeaders();
        return answer.pipe(outgoing);
      }
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => outgoing.writeHead(answer.statusCode, answer.headers).end(Buffer.concat(chunks)));
    });
    incoming.pipe(upstream);
  });
  server.on("upgrade", (request, socket, head) => {
    requests.push(`UPGRADE ${request.url}`);
    socket.on("error", () => {});
    if (lets.upgrades === "hang") return;
    if (lets.upgrades === "refuse") return socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    passUpgrade(target, request, socket, head);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    url: target.replace(/\/\/[^/]+/, `//127.0.0.1:${server.address().port}`),
    lets,
    /** What was asked for, in order. */
    requests,
    /** Ends every connection. */
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Makes the connection of a request for an upgrade one with the address of `url`. */
export function passUpgrade(url, request, socket, head) {
  const { hostname, port } = new URL(url);
  const upstream = connect(Number(port), hostname);
  const lines = [`${request.method} ${request.url} HTTP/1.1`];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
  }
  upstream.write(`${lines.join("\r\n")}\r\n\r\n`);
  upstream.write(head);
  for (const [from, to] of [[socket, upstream], [upstream, socket]]) {
    from.pipe(to);
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  }
}
