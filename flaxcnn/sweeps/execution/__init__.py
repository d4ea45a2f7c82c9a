"""How the trials of a sweep are trained: decided, grouped into lanes, and shared out among workers."""
