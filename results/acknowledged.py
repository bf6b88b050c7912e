"""Changes of level that someone has looked at and taken as they are: a small file that lives beside the baselines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import codec
from harness.errors import StoreError
from results.files import explained, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PLACE = Path("baselines") / "acknowledged.json"
"""Where the file lies unless said otherwise, from the folder that commands run in."""
_SCHEMA = 1  # 1: first edition


@dataclass(frozen=True)
class Acknowledgement:
    """From this run on, a cell's quantity has a level of its own on this hardware."""

    cell_id: str
    label: str  # for who reads the file
    quantity: str
    hw_id: str
    run_id: str
    created_at: str  # of the run, ISO 8601, UTC: finds the place where the run itself is gone
    acknowledged_on: str  # YYYY-MM-DD
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there is one acknowledgement of."""
        return self.cell_id, self.quantity, self.hw_id, self.run_id


def read(path: Path) -> tuple[Acknowledgement, ...]:
    """Return what a file holds, in its order; nothing where there is no file.

    Raises ``StoreError`` for a file that cannot be read, is none of these, or is of a newer edition.
    """
    hint = "restore the file from version control, or remove it and acknowledge again"
    with explained(path):
        if not path.exists():
            return ()
        data = path.read_bytes()
    try:
        held: Any = json.loads(data)
        schema, entries = held["schema"], held["acknowledged"]
        if not isinstance(schema, int) or not isinstance(entries, list):
            raise TypeError  # noqa: TRY301 - said below, as every other wrong form is
    except (ValueError, LookupError, TypeError):
        raise StoreError(f"{path} holds no acknowledged changes", hint) from None
    if schema > _SCHEMA:
        raise StoreError(f"{path} was written by a newer harness (edition {schema})", "upgrade the harness")
    try:
        return tuple(
            codec.decode(Acknowledgement, entry, f"acknowledged[{place}]") for place, entry in enumerate(entries)
        )
    except codec.CodecError as error:
        raise StoreError(f"{path}: {error.message}", hint) from None


def write(path: Path, acknowledgements: Iterable[Acknowledgement]) -> None:
    """Write a file whole or not at all, one entry after the other by label and date, so that it merges well.

    Raises ``StoreError``.
    """
    ordered = sorted(acknowledgements, key=lambda one: (one.label, one.quantity, one.hw_id, one.created_at, one.run_id))
    held = {"schema": _SCHEMA, "acknowledged": [codec.encode(one) for one in ordered]}
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(held, indent=2, ensure_ascii=False) + "\n").encode())


def added(held: Sequence[Acknowledgement], further: Iterable[Acknowledgement]) -> tuple[Acknowledgement, ...]:
    """Return those held and the further ones; of one change the further one counts."""
    return tuple({one.key: one for one in (*held, *further)}.values())
