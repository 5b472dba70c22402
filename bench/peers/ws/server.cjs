// Echo, fan-out and rooms on `ws` (Node) with `bufferutil`, the native helper that its README recommends.
// `/echo` answers each message with itself; whoever connects to `/fanout` hears what comes in on `/publish`; members of
// `/rooms/NAME` hear each other.
// Arguments: --deflate; --tls CERTIFICATE KEY.
"use strict";

const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { parseArgs } = require("node:util");
const { WebSocket, WebSocketServer } = require("ws");

const { values, positionals } = parseArgs({
  options: { deflate: { type: "boolean" }, tls: { type: "string" } },
  allowPositionals: true, // the key of --tls
});
const options = { noServer: true, perMessageDeflate: Boolean(values.deflate) };
const echo = new WebSocketServer(options);
const fanout = new WebSocketServer(options);
const publish = new WebSocketServer(options);
const member = new WebSocketServer(options);
const endpoints = { "/echo": echo, "/fanout": fanout, "/publish": publish };
const rooms = new Map(); // name: set of members

echo.on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});

function spread(audience, data, binary) {
  for (const subscriber of audience) {
    if (subscriber.readyState === WebSocket.OPEN) subscriber.send(data, { binary });
  }
}

publish.on("connection", (socket) => {
  socket.on("message", (data, binary) => spread(fanout.clients, data, binary));
});

member.on("connection", (socket, request) => {
  const name = request.url;
  const room = rooms.get(name) ?? new Set();
  rooms.set(name, room.add(socket));
  socket.on("message", (data, binary) => spread(room, data, binary));
  socket.on("close", () => {
    room.delete(socket);
    if (room.size === 0 && rooms.get(name) === room) rooms.delete(name);
  });
});

const server = values.tls
  ? https.createServer({ cert: readFileSync(values.tls), key: readFileSync(positionals[0]) })
  : http.createServer();
server.on("upgrade", (request, socket, head) => {
  const endpoint = request.url.startsWith("/rooms/") ? member : endpoints[request.url];
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
