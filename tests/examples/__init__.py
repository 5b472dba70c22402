"""The examples, each driven as its users would."""
