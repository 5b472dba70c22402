"""The compiled leaf of fastws: frames, wire, reactor, handshake and fan-out. Imports nothing of `fastws`."""
