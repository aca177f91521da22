// A proxy in front of the server whose connections can be cut.

import { connect, createServer } from "node:net";

/** Passes on to the server at this address; `cut` breaks every connection at once. */
export async function startCutter(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  const proxy = createServer((client) => {
    const server = connect(Number(port), hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => (sockets.delete(from), to.destroy()));
      from.pipe(to);
    }
  });
  const cut = () => sockets.forEach((socket) => socket.resetAndDestroy());
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
  return {
    http: `http://127.0.0.1:${proxy.address().port}`,
    cut,
    async stop() {
      cut();
      await new Promise((closed) => proxy.close(closed));
    },
  };
}
