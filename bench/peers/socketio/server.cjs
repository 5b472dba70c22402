// Fan-out and rooms on Socket.IO (Node), over WebSocket alone: subscribers speak its protocol, and hear what comes in on
// `/publish` as an event of the main namespace; a member of a room says an event, which the room hears. Publishers are plain WebSocket clients, of `ws`, on which Socket.IO
// itself is built: a backend would publish from inside the server too.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { WebSocketServer } = require("ws");

const server = createServer();
const io = new Server(server, {
  transports: ["websocket"],
  serveClient: false,
  destroyUpgrade: false, // upgrades of /publish are not its own
  pingInterval: 600_000, // its pings are messages, which the clients of a benchmark do not answer
});

io.on("connection", (socket) => {
  const { room } = socket.handshake.query;
  if (room === undefined) return;
  socket.join(room);
  socket.on("say", (data) => io.to(room).emit("publication", data));
});

const publish = new WebSocketServer({ noServer: true, perMessageDeflate: false });
publish.on("connection", (socket) => {
  socket.on("message", (data, binary) => io.emit("publication", binary ? data : data.toString()));
});
server.on("upgrade", (request, socket, head) => {
  if (request.url !== "/publish") return;
  publish.handleUpgrade(request, socket, head, (client) => {
    client.on("error", () => client.terminate());
    publish.emit("connection", client, request);
  });
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
