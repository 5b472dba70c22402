// Node's `ws` as two members of a room of the gateway: node chat.cjs URL. Prints one line of JSON; exits 1 at a surprise.
"use strict";
const assert = require("node:assert");
const { once } = require("node:events");
const WebSocket = require("ws");

// One member: `next(test)` resolves with the first object, past or future, that passes the test.
class Member {
  constructor(url) {
    this.socket = new WebSocket(url, ["fastws.json.v1"]);
    this.opened = once(this.socket, "open");
    this.heard = [];
    this.waiting = [];
    this.socket.on("message", (data, isBinary) => {
      assert.ok(!isBinary);
      this.heard.push(JSON.parse(data.toString()));
      this.settle();
    });
  }
  say(command) { this.socket.send(JSON.stringify(command)); }
  next(test) { return new Promise((resolve) => { this.waiting.push({ test, resolve }); this.settle(); }); }
  settle() {
    this.waiting = this.waiting.filter(({ test, resolve }) => {
      const found = this.heard.find(test);
      if (found) resolve(found);
      return !found;
    });
  }
}

async function main(url) {
  const members = [new Member(url), new Member(url)];
  for (const member of members) {
    await member.opened;
    assert.strictEqual(member.socket.protocol, "fastws.json.v1");
    const welcome = await member.next((object) => object.event === "welcome");
    assert.ok(welcome.conn);
    member.say({ id: "join", cmd: "sub", topic: "room" });
    const reply = await member.next((object) => object.id === "join");
    assert.ok(reply.result, JSON.stringify(reply));
  }
  const [alice, bob] = members;
  alice.say({ id: 2, cmd: "pub", topic: "room", data: { text: "grüße" } });
  const reply = await alice.next((object) => object.id === 2);
  assert.ok(reply.result, JSON.stringify(reply));
  const heard = await Promise.all(members.map((member) => member.next((object) => object.event === "publication")));
  for (const publication of heard) assert.deepStrictEqual(publication.data, { text: "grüße" });
  bob.say({ id: 3, cmd: "no such command" });
  const refused = await bob.next((object) => object.id === 3);
  const ended = members.map((member) => once(member.socket, "close"));
  for (const member of members) member.socket.close(1000);
  const codes = (await Promise.all(ended)).map(([code]) => code);
  console.log(JSON.stringify({ heard: heard.length, topic: heard[1].topic, error: refused.error.code, codes }));
}

main(process.argv[2]).catch((error) => { console.error(error); process.exit(1); });
