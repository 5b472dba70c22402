"""The admin address: the control API for back ends and operators, and the health of the node."""
