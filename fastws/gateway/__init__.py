"""Commands of clients become actions: dispatch, permissions, limits."""
