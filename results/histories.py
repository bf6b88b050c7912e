"""The histories that an index holds: of the cells that are asked for, each quantity on each hardware by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.history import LAST, Series, history
from results.index import asking
from results.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from results.acknowledged import Acknowledgement
    from results.history import History


@dataclass(frozen=True)
class Asked:
    """Which histories."""

    cells: str = "*"  # a pattern of labels, or the beginning of an id
    quantity: str = ""  # empty: what the cell is measured for, the first of ``QUANTITIES`` that it has
    hardware: str = ""  # the beginning of a hw_id; every hardware where empty
    last: int = LAST  # points


def histories(
    session: Session, asked: Asked = Asked(), acknowledgements: Sequence[Acknowledgement] = ()
) -> Iterator[History]:
    """Yield one history after the other, by label and hardware, so that no more than one is held."""
    for cell in asking.cells(session, asked.cells):
        for hw_id, known in asking.quantities(session, cell.cell_id).items():
            name = asked.quantity or _headline(known)
            if name in known and hw_id.startswith(asked.hardware):
                points = tuple(asking.series(session, cell.cell_id, name, hw_id, asked.last))
                yield history(Series(cell.cell_id, cell.label, name, hw_id, points), acknowledgements)


def _headline(known: Mapping[str, int]) -> str:
    return next((name for name in QUANTITIES if name in known), next(iter(known)))
