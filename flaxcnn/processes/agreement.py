"""Agreement between a run's processes. All processes call each function, in their main threads and in the same order.

Values consist of JSON types. Results pass through JSON in every process, so a tuple becomes a list.
"""

import contextvars
import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flaxcnn.errors import FlaxcnnError, ProcessError
from flaxcnn.processes.connections import Connections, wait
from flaxcnn.processes.joining import close, connections, guarded
from flaxcnn.processes.messages import LONGEST_TEXT, is_error

T = TypeVar("T")


def share(value: T) -> T:
    """Return the first process's value, in all of them; the others' values are not looked at.

    Raises:
        ProcessError: a process was lost.
    """
    star = connections()
    return value if star is None else _share(star, "share", value)


def together(work: Callable[[], T]) -> T:
    """Return what work gives that the first process does, in all of them; the others wait for it.

    Raises:
        FlaxcnnError: the work raised it: all processes raise the same.
        ProcessError: a process was lost.
    """
    star = connections()
    if star is None:
        return work()
    if star.index != 0:
        outcome = _share(star, "together", None)
    else:
        try:
            outcome = {"value": work(), "error": None}
        except FlaxcnnError as error:
            _share(star, "together", {"error": _packed(error)})
            raise
        outcome = _share(star, "together", outcome)
    if not isinstance(outcome, dict) or "error" not in outcome or (outcome["error"] is None and "value" not in outcome):
        raise _senseless()
    if outcome["error"] is not None:
        raise _unpacked(outcome["error"])
    return outcome["value"]


def in_each(work: Callable[[], T]) -> T:
    """Do work in every process, and return its own result once all are done.

    Where one of them fails, the others do not wait for their own work, which may be waiting for that process for ever.

    Raises:
        FlaxcnnError: the work of one process raised it: all raise the same, of several any one.
        ProcessError: a process was lost.
    """
    star = connections()
    if star is None:
        return work()
    number = star.begin()
    own: dict[str, Any] = {}

    def run() -> None:
        try:
            own["value"] = work()
        except FlaxcnnError as error:
            own["error"] = _packed(error)
        except BaseException as error:  # a bug: it is raised below
            own["bug"] = error
        if star.index != 0 and "bug" not in own:
            star.say(0, number, "in each", own.get("error"))
        own["done"] = True
        with star.changed:
            star.changed.notify_all()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True, name="in each").start()
    if star.index == 0:
        error = _first_error(star, number, own)
    else:
        wait(star, lambda: "bug" in own or star.heard(0, number, "in each"))
        error = None if "bug" in own else star.hear(0, number, "in each")
    if "bug" in own:
        raise own["bug"]
    if error is not None:
        raise _unpacked(error)
    return own["value"]


def gather(value: T) -> list[T]:
    """Return the values of all processes, by their index.

    Raises:
        ProcessError: a process was lost.
    """
    star = connections()
    return [value] if star is None else _gather(star, "gather", value)


def barrier(name: str) -> None:
    """Return once all processes are at the barrier of this name.

    Raises:
        ProcessError: a process was lost.
        RuntimeError: a process is at another barrier, which is a bug.
    """
    star = connections()
    if star is not None:
        _gather(star, f"barrier {name}", None)


def leave() -> None:
    """Leave the other processes once all are done, so that none misses another; alone, do nothing.

    Raises:
        ProcessError: a process was lost before it was done.
    """
    if connections() is not None:
        with guarded():
            barrier("leave")
            close()


def _share(star: Connections, name: str, value: Any) -> Any:
    number = star.begin()
    if star.index != 0:
        return star.hear(0, number, name)
    value = json.loads(json.dumps(value))
    star.say_to_all(number, name, value)
    return value


def _gather(star: Connections, name: str, value: Any) -> list[Any]:
    number = star.begin()
    value = json.loads(json.dumps(value))
    if star.index != 0:
        star.say(0, number, name, value)
        return star.hear(0, number, name)
    values = [value, *(star.hear(process, number, name) for process in star.peers)]
    star.say_to_all(number, name, values)
    return values


def _first_error(star: Connections, number: int, own: dict[str, Any]) -> dict[str, Any] | None:
    """As process 0: wait until all are done, or one failed; tell the others, and return the error."""

    def outcomes() -> list[dict[str, Any]]:
        return [said for process in star.peers if (said := star.heard(process, number, "in each"))]

    def errors() -> list[Any]:
        return [each for each in (own.get("error"), *(said["value"] for said in outcomes())) if each is not None]

    wait(star, lambda: errors() or "bug" in own or ("done" in own and len(outcomes()) == len(star.peers)))
    if "bug" in own:
        return None
    star.require_all()
    error = errors()[0] if errors() else None
    star.say_to_all(number, "in each", error)
    return error


def _packed(error: FlaxcnnError) -> dict[str, Any]:
    sides = {name: getattr(error, name) for name in ("where", "expected", "found")}
    return {
        "kind": f"{type(error).__module__}.{type(error).__qualname__}",
        "what": error.what[:LONGEST_TEXT],
        "fix": error.fix[:LONGEST_TEXT],
        "elsewhere": error.elsewhere[:LONGEST_TEXT],
        "exit_code": error.exit_code,
        **{name: None if side is None else str(side)[:LONGEST_TEXT] for name, side in sides.items()},
    }


def _unpacked(packed: Any) -> FlaxcnnError:
    if not is_error(packed):
        return _senseless()
    fields = dict(packed)
    kind, exit_code = fields.pop("kind"), fields.pop("exit_code")
    kinds = {f"{each.__module__}.{each.__qualname__}": each for each in _kinds(FlaxcnnError)}
    error = kinds.get(kind, FlaxcnnError)(fields.pop("what"), **fields)
    error.exit_code = exit_code
    return error


def _senseless() -> ProcessError:
    return ProcessError("another process sent what no process of a run sends")


def _kinds(kind: type[FlaxcnnError]) -> list[type[FlaxcnnError]]:
    """Return the kinds of errors of `flaxcnn.errors`, which are all made in the same way."""
    below = [each for each in kind.__subclasses__() if each.__module__ == FlaxcnnError.__module__]
    return [kind, *(each for own in below for each in _kinds(own))]
