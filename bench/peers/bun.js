// A server on Bun's own WebSocket server with its topics.
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (!server.upgrade(request)) {
      return new Response('not a WebSocket handshake', { status: 400 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    // Clients of a comparison say nothing for long.
    idleTimeout: 0,
    // Beyond this it drops publications for a client that has fallen behind.
    backpressureLimit: 1024 * 1024,
    message(socket, data) {
      const message = JSON.parse(data);
      const { channel } = message;
      switch (message.type) {
        case 'subscribe':
          socket.subscribe(channel);
          socket.send(JSON.stringify({ type: 'subscribed', channel }));
          break;
        case 'publish':
          server.publish(channel, JSON.stringify({ type: 'update', channel, payload: message.payload }));
          break;
      }
    },
  },
});
