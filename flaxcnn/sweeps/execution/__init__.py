"""How the trials of a sweep are trained: decided, grouped by their program, and shared out among workers."""
