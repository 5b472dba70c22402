"""What carries messages between processes: the contract, and one module or package per implementation."""
