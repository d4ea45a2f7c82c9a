"""Progress reports of Ray tasks, in a separate module because the process that holds them needs nothing else."""

Report = tuple[int, int, float]  # trial, step, metric


class Reports:
    """An actor that keeps what is reported until it is asked for."""

    def __init__(self) -> None:
        self._new: list[Report] = []

    def add(self, report: Report) -> None:
        """Keep a report."""
        self._new.append(report)

    def take(self) -> list[Report]:
        """Return what was reported since the last time."""
        taken, self._new = self._new, []
        return taken
