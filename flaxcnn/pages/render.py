"""Parts of a page as HTML."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from flaxcnn.pages.charts import share
from flaxcnn.pages.html import text
from flaxcnn.pages.parts import Block, Matrix, Part, Plot, Table, Text
from flaxcnn.pages.plots import plot

MOST_NAMED = 40
"""Classes of a matrix whose names and numbers have room; of more, the cells alone are drawn."""


def section(part: Part) -> Iterator[str]:
    """Return a section of a page."""
    yield f"<section><h2>{text(part.title)}</h2>"
    yield from blocks(part.blocks)
    yield "</section>"


def blocks(given: Sequence[Block]) -> Iterator[str]:
    """Return what stands in a section; plots that follow each other stand side by side."""
    for are_plots, group in groupby(given, lambda block: isinstance(block, Plot)):
        if are_plots:
            yield f'<div class="plots">{"".join(plot(block) for block in group if isinstance(block, Plot))}</div>'
            continue
        for block in group:
            if isinstance(block, Text):
                kind = ' class="warn"' if block.warns else ""
                yield f"<p{kind}>{text(block.text, 3000)}</p>"
            elif isinstance(block, Table):
                yield from _table(block)
            elif isinstance(block, Matrix):
                yield from _matrix(block)


def _table(table: Table) -> Iterator[str]:
    first, *others = table.heads
    heads = "".join(f'<th class="number">{text(head)}</th>' for head in others)
    bar = "" if table.bars is None else '<th class="fill"></th>'
    kind = ' class="narrow"' if table.bars is None else ""
    yield f'<div class="wide table"><table{kind}><thead><tr><th>{text(first)}</th>{heads}{bar}</tr></thead><tbody>'
    for place, (name, *cells) in enumerate(table.rows):
        numbers = "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)
        bar = "" if table.bars is None else f'<td class="fill">{share(table.bars[place])}</td>'
        yield f"<tr><th>{text(name)}</th>{numbers}{bar}</tr>"
    yield "</tbody></table></div>"


def _matrix(matrix: Matrix) -> Iterator[str]:
    counts = matrix.counts_KxK
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    beside = ~np.eye(len(counts), dtype=bool)
    shares[beside] *= 0.7 / max(float(np.max(shares[beside], initial=0.0)), 1e-9)  # they would be too pale to be seen
    if len(matrix.names) > MOST_NAMED:
        yield _cells(matrix, shares)
        return
    heads = "".join(f'<th><span title="{text(name)}">{text(name, 24)}</span></th>' for name in matrix.names)
    yield '<div class="wide"><table class="matrix"><thead><tr>'
    yield f"<th>{text(matrix.rows)} ↓ {text(matrix.columns)} →</th>{heads}</tr></thead><tbody>"
    for row, name in enumerate(matrix.names):
        cells = []
        for column, count in enumerate(counts[row].tolist()):
            part = shares[row, column]
            kinds = " ".join(["right" if row == column else "wrong", *(["dark"] if part > 0.5 else [])])
            style = f' class="{kinds}" style="--share:{100 * part:.0f}%"' if count else ""
            cells.append(f"<td{style}>{f'{count:,}' if count else ''}</td>")
        yield f'<tr><th><span title="{text(name)}">{text(name, 24)}</span></th>{"".join(cells)}</tr>'
    yield "</tbody></table></div>"


def _cells(matrix: Matrix, shares: np.ndarray) -> str:
    side = len(matrix.names)
    cells = "".join(
        f'<rect class="{"right" if row == column else "wrong"}" x="{column}" y="{row}" width="1" height="1"'
        f' fill-opacity="{max(0.15, shares[row, column]):.2f}"/>'
        for row, column in np.argwhere(matrix.counts_KxK).tolist()
    )
    label = text(f"{matrix.rows} down, {matrix.columns} across")
    return (
        f'<figure class="cells"><svg viewBox="0 0 {side} {side}" role="img" aria-label="{label}">{cells}</svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )
