// A server on uWebSockets.js with its own topics.
const { App, DISABLED } = require('uwebsockets');

const utf8 = new TextDecoder();

const app = App();
app.ws('/*', {
  compression: DISABLED,
  // Clients of a comparison say nothing for long.
  idleTimeout: 0,
  // Its default of 64 KiB drops publications for clients that fall behind for a moment.
  maxBackpressure: 1024 * 1024,
  maxPayloadLength: 1024 * 1024,
  message(socket, data) {
    const message = JSON.parse(utf8.decode(data));
    const { channel } = message;
    switch (message.type) {
      case 'subscribe':
        socket.subscribe(channel);
        socket.send(JSON.stringify({ type: 'subscribed', channel }));
        break;
      case 'publish':
        app.publish(channel, JSON.stringify({ type: 'update', channel, payload: message.payload }), false);
        break;
    }
  },
});
app.listen('127.0.0.1', Number(process.argv[2]), (listening) => {
  if (!listening) {
    throw new Error('cannot listen');
  }
});
