"""What an error is about, apart from the words that it is told in."""


def fields(error):
    """Where the fault lies, what was expected and what was found, each as text; None where the error names none."""
    return tuple(None if each is None else str(each) for each in (error.where, error.expected, error.found))
