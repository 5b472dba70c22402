// Node's `ws` against a raw echo endpoint: node echo.cjs URL. Prints one line of JSON; exits 1 at the first surprise.
"use strict";
const assert = require("node:assert");
const { once } = require("node:events");
const WebSocket = require("ws");

async function echoed(socket, message, options) {
  const answer = once(socket, "message");
  socket.send(message, options ?? {});
  const [data, isBinary] = await answer;
  return isBinary ? data : data.toString();
}

async function main(url) {
  const socket = new WebSocket(url);
  await once(socket, "open");
  let messages = 0;
  for (const size of [0, 1, 125, 126, 1000, 65535, 65536]) {
    const text = "é".repeat(size >> 1) + "x".repeat(size & 1);
    assert.strictEqual(await echoed(socket, text), text);
    const bytes = Buffer.alloc(size, 7);
    assert.ok(bytes.equals(await echoed(socket, bytes)));
    messages += 2;
  }
  const whole = once(socket, "message");
  socket.send("one ", { fin: false });
  socket.send("two ", { fin: false });
  socket.ping("between");
  socket.send("three", { fin: true });
  assert.strictEqual((await whole)[0].toString(), "one two three");
  messages += 1;
  const pong = once(socket, "pong");
  socket.ping("are you there");
  assert.strictEqual((await pong)[0].toString(), "are you there");
  const ended = once(socket, "close");
  socket.close(4321, "enough");
  const [code] = await ended;
  console.log(JSON.stringify({ messages, code, extensions: socket.extensions }));
}

main(process.argv[2]).catch((error) => { console.error(error); process.exit(1); });
