"""Rules without IO: request heads, upgrades, the WebSocket law, deflate, topics, codecs. No socket, no loop."""
