// A server on npm `ws`: the clients of a channel are a set, and a publication is encoded once and sent to each of them.
const { WebSocketServer } = require('ws');

const channels = new Map();

function audience(channel) {
  let clients = channels.get(channel);
  if (clients === undefined) {
    clients = new Set();
    channels.set(channel, clients);
  }
  return clients;
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false });

server.on('connection', (socket) => {
  const joined = new Set();
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    const { channel } = message;
    switch (message.type) {
      case 'subscribe':
        joined.add(channel);
        audience(channel).add(socket);
        socket.send(JSON.stringify({ type: 'subscribed', channel }));
        break;
      case 'publish': {
        const update = JSON.stringify({ type: 'update', channel, payload: message.payload });
        for (const client of audience(channel)) {
          client.send(update);
        }
        break;
      }
    }
  });
  socket.on('close', () => {
    for (const channel of joined) {
      audience(channel).delete(socket);
    }
  });
  // A client that breaks its connection is closed as well.
  socket.on('error', () => {});
});
