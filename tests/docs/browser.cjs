// Loaded before the programs of the documents: what they use of browsers that this Node may not have.
"use strict";
globalThis.WebSocket = require("ws");
