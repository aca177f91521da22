// A TCP proxy that breaks connections on purpose.

import { connect, createServer } from "node:net";
import { once } from "node:events";

/** Forwards to the address of `url`; its own is `url`. */
export async function startProxy(target) {
  const { hostname, port } = new URL(target);
  const pairs = new Set();
  const sockets = new Set();
  let accepted = 0;
  let refusing = false;
  const server = createServer((client) => {
    if (refusing) return client.resetAndDestroy();
    accepted += 1;
    const upstream = connect(Number(port), hostname);
    const pair = { client, upstream, dead: false };
    pairs.add(pair);
    sockets.add(client).add(upstream);
    const forward = (from, to) => {
      from.on("data", (chunk) => pair.dead || to.write(chunk));
      from.on("error", () => {});
      from.on("close", () => {
        pairs.delete(pair);
        sockets.delete(from);
        // A black hole tells nobody.
        if (!pair.dead) to.destroy();
      });
    };
    forward(client, upstream);
    forward(upstream, client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    url: target.replace(/\/\/[^/]+/, `//127.0.0.1:${server.address().port}`),
    /** Connections now. */
    get open() {
      return pairs.size;
    },
    /** Connections ever. */
    get accepted() {
      return accepted;
    },
    /** Ends every connection as a dead peer does. */
    kill() {
      for (const { client, upstream } of pairs) {
        client.resetAndDestroy();
        upstream.resetAndDestroy();
      }
    },
    /** Whether new connections are ended at once. */
    refuse(yes) {
      refusing = yes;
    },
    /** Nothing arrives any more on the connections there are, in either direction, and nobody is told. */
    blackhole() {
      for (const pair of pairs) pair.dead = true;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
