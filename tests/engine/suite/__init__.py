"""What the contract of engines promises, shown by every engine, alone and with several processes."""
