"""What launches need, on its way to a host: parcels of files, of which only those are sent that it lacks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.fleet.contract import FleetError, Load
from harness.fleet.parcels import chunks, entry, parcel_of
from harness.vocabulary import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.artifacts import Request, Workshop
    from harness.fleet.contract import Host, Parcel
    from harness.fleet.parcels import Files
    from harness.jobs import Item
    from harness.prepare import Portable
    from harness.vocabulary import Failed, Skipped

_TRIES = 3  # to send what arrives broken


@dataclass(frozen=True)
class Packed:
    """Files of this machine as a parcel."""

    files: Files
    parcel: Parcel

    @property
    def content_hash(self) -> str:
        """What the parcel is known by."""
        return self.parcel.content_hash


class Packing:
    """The parcels of files of this machine; each file is read once, whichever hosts need it. Safe for threads."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._packed: dict[object, Packed] = {}
        self._turn = threading.Lock()

    def of(self, path: Path) -> Packed:
        """Return a file or folder as a parcel. Raises ``FleetError`` where it cannot be read."""
        return self._once(path, lambda: path)

    def images(self, items: Sequence[Item]) -> tuple[Packed, tuple[str, ...]]:
        """Return images as one parcel, each with the name that it has in it. Raises ``FleetError``."""
        names = tuple(f"{place}/{_name(item.path)}" for place, item in enumerate(items))
        packed = self._once(
            tuple(item.path for item in items),
            lambda: {name: item.path for name, item in zip(names, items, strict=True)},
        )
        return packed, names

    def root(self, artifact: Artifact) -> Path:
        """Return the file or folder of all that an artifact is made of."""
        return self._workshop.root(artifact)

    def _once(self, key: object, files: Callable[[], Files]) -> Packed:
        with self._turn:
            if key not in self._packed:
                chosen = files()
                self._packed[key] = Packed(chosen, parcel_of(chosen))
            return self._packed[key]


class Sender:
    """Brings one host what it lacks. Of one thread at a time."""

    def __init__(self, host: Host, packing: Packing, told: Callable[[str], None]) -> None:
        """``told`` is called with a word before something takes long."""
        self._host = host
        self._packing = packing
        self._told = told
        self._there: set[str] = set()  # parcels that it has by now
        self._labelled: list[tuple[tuple[str, Any], ...]] = []

    def load(self, engine: str, portable: Portable) -> Load | Failed | Skipped:
        """Return what the launches of a variant need there, with all its files brought and its builds made.

        Raises ``HostLostError``, or ``FleetError`` where the host does not keep what it is sent.
        """
        bench, of = portable.bench, self._packing.of
        root = self._packing.root(bench.artifact)
        whole, inputs = of(root), of(bench.inputs.path)
        reference = of(bench.reference) if bench.reference else None
        code = {name: of(place) for name, place in portable.places.items()}
        images, names = self._packing.images(bench.items)
        calibration = [of(each.calibration.path) for each in portable.builds if each.calibration is not None]
        needed = [whole, inputs, *([reference] if reference else []), *code.values(), *calibration]
        self._bring([*needed, images] if bench.items else needed)
        artifact = replace(bench.artifact, path=entry(bench.artifact.path, root))
        built = self._built(artifact, whole.content_hash, portable)
        if not isinstance(built, list):
            return built
        first, *more = built or [(artifact, whole.content_hash)]
        listed = zip(names, bench.items, strict=True)
        return Load(
            engine=engine,
            artifact=first[0],
            artifact_parcel=first[1],
            inputs_parcel=inputs.content_hash,
            inputs_hash=bench.inputs.content_hash,
            inputs_count=bench.inputs.count,
            reference_parcel=reference.content_hash if reference else "",
            items=self._same(tuple((f"{images.content_hash}/{name}", item.label) for name, item in listed)),
            classes=bench.classes,
            rebuilt=tuple(more),
            task_parcels={name: packed.content_hash for name, packed in code.items()},
        )

    def _same(self, labelled: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Return the one object for equal lists: what variants share crosses the wire once."""
        known = next((each for each in self._labelled if each == labelled), None)
        if known is None:
            self._labelled.append(labelled)
        return labelled if known is None else known

    def _built(
        self, source: Artifact, parcel: str, portable: Portable
    ) -> list[tuple[Artifact, str]] | Failed | Skipped:
        """Return each build that the host makes of what was begun here, with its parcel; none of what is whole."""
        made = []
        for request in portable.builds:
            again = f", build {request.build + 1}" if request.build else ""
            self._told(f"{' → '.join(portable.route.exporters)} for {request.device}{again}")
            artifact = self._host.build(source, parcel, portable.route, self._sent(request))
            if not isinstance(artifact, Artifact):
                return artifact
            made.append((artifact, artifact.content_hash))
        return made

    def _sent(self, request: Request) -> Request:
        """Return a request whose calibration tensors are named by their parcel: places are each machine's own."""
        calibration = request.calibration
        if calibration is None:
            return request
        parcel = self._packing.of(calibration.path).content_hash
        return replace(request, calibration=replace(calibration, path=Path(parcel)))

    def _bring(self, needed: Iterable[Packed]) -> None:
        new = {each.content_hash: each for each in needed if each.content_hash not in self._there}
        if not new:
            return
        for _ in range(_TRIES):
            lacking = set(self._host.lacks([each.parcel for each in new.values()]))
            if not lacking:
                break
            self._told(f"sending {len(lacking)} files")
            self._send(new.values(), lacking)
        else:
            message = f"{self._host.name} does not keep what it is sent: {len(lacking)} files are lacking still"
            raise FleetError(message, "is there space on its disk, and is the memory of both machines sound?")
        for each in new.values():
            self._host.assemble(each.parcel)
            self._there.add(each.content_hash)

    def _send(self, packed: Iterable[Packed], lacking: set[str]) -> None:
        left = set(lacking)
        for each in packed:
            for chunk in chunks(each.files, each.parcel, left):
                self._host.put(chunk)
            left -= {sha256 for _, _, sha256 in each.parcel.files}


def _name(path: Path) -> str:
    """Return a file's name, or one in its place that travels."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "image"
    return path.name
