// Echo and fan-out on `ws` (Node): no compression, with `bufferutil`, the native helper that its README recommends.
// `/echo` answers each message with itself; whoever connects to `/fanout` hears what comes in on `/publish`.
"use strict";

const { createServer } = require("node:http");
const { WebSocket, WebSocketServer } = require("ws");

const options = { noServer: true, perMessageDeflate: false };
const echo = new WebSocketServer(options);
const fanout = new WebSocketServer(options);
const publish = new WebSocketServer(options);
const endpoints = { "/echo": echo, "/fanout": fanout, "/publish": publish };

echo.on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});

publish.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    for (const subscriber of fanout.clients) {
      if (subscriber.readyState === WebSocket.OPEN) subscriber.send(data, { binary });
    }
  });
});

const server = createServer();
server.on("upgrade", (request, socket, head) => {
  const endpoint = endpoints[request.url];
  if (!endpoint) {
    socket.destroy();
    return;
  }
  endpoint.handleUpgrade(request, socket, head, (client) => {
    client.on("error", () => client.terminate());
    endpoint.emit("connection", client, request);
  });
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
