"""Where images come from: one module a format; `by_name` finds the source that a name asks for."""
