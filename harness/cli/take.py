"""``harness take``: the artifact of one cell, its settings, and a short program that reproduces its output."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from harness import codec, registry, runner
from harness.cache import hash_tree
from harness.cli import campaign as campaigns
from harness.cli.arguments import CellName, RunName, Runs, one_run
from harness.cli.console import errors, say
from harness.cli.run import one_cell
from harness.engine import SessionConfig
from harness.errors import HarnessError
from harness.layout import laid_out
from harness.vocabulary import Failed, Goal

if TYPE_CHECKING:
    from harness.runner import Bench
    from harness.vocabulary import Cell


def take(
    run_name: RunName,
    cell_name: CellName,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A folder to make.")],
    *,
    runs: Runs = campaigns.RUNS,
) -> None:
    """Copy the artifact of CELL with its settings and a program that loads it without the harness.

    `python load.py` in DIR computes `outputs` from `inputs.npz`; `reference_fp32.npz` holds the FP32 outputs for them.
    """
    if output.exists() and any(output.iterdir() if output.is_dir() else [output]):
        raise HarnessError(f"{output} exists already", "give the name of a folder that does not")
    with campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop:
        store = one_run(run_name, runs)
        cell = one_cell(store, cell_name)
        campaign = campaigns.reopen(store, workshop, _note)
        bench = campaigns.prepared(campaign, [cell], _note)[cell.variant_id]
        if not isinstance(bench, runner.Bench):
            why = bench.message if isinstance(bench, Failed) else bench.reason
            raise HarnessError(f"{cell.label} has no artifact: {why}", bench.hint)
        measured = {r.artifact.content_hash for r in store.records() if r.cell_id == cell.cell_id and r.artifact}
        if measured and bench.artifact.content_hash not in measured:
            hint = "the cache was pruned and the export is not reproducible to the byte: measure it again"
            raise HarnessError(f"the artifact made now is not the one that {cell.label} measured", hint)
        _fill(output, cell, bench)
    say(f"{output}: python {output / 'load.py'}")


def _fill(output: Path, cell: Cell, bench: Bench) -> None:
    """Make the folder whole or not at all."""
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".take-", dir=output.absolute().parent))
    try:
        name = _copied(bench.artifact.path, work)
        artifact = replace(bench.artifact, path=work / name)
        images = np.load(bench.inputs.path / "inputs.npy", mmap_mode="r")
        rows = [index % len(images) for index in range(cell.batch)]
        taken = artifact.inputs[0]
        tensors = {taken.name: np.ascontiguousarray(laid_out(images[rows], taken.shape))}
        np.savez(work / "inputs.npz", **tensors)  # type: ignore[arg-type]  # numpy types its keywords as bool
        engine = registry.engine(bench.engine)
        config = SessionConfig(
            device=cell.device,
            precision=cell.precision,
            batch=cell.batch,
            threads=cell.threads,
            streams=1,
            goal=Goal.LATENCY,
            options=engine.options(**cell.options),
        )
        program = engine.snippet(artifact, config).replace("MODEL", name)
        (work / "load.py").write_text(program, encoding="utf-8")
        _expect(bench, work)
        settings: dict[str, Any] = {
            "cell": codec.encode(cell),
            "artifact": {**codec.encode(artifact), "path": name, "sha256": hash_tree(work / name)[0]},
        }
        (work / "settings.json").write_text(json.dumps(settings, indent=1, sort_keys=True), encoding="utf-8")
        work.chmod(0o755)
        if output.exists():
            output.rmdir()
        work.rename(output)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copied(path: Path, work: Path) -> str:
    """Copy the artifact, and what lies beside it in its entry: formats such as OpenVINO's are two files."""
    for item in path.parent.iterdir():
        if item.is_dir():
            shutil.copytree(item, work / item.name)
        else:
            shutil.copy2(item, work / item.name)
    return path.name


def _expect(bench: Bench, work: Path) -> None:
    """Keep the FP32 reference's outputs for the same inputs: what the program's are to be compared with."""
    if bench.reference is None:
        return
    with np.load(bench.reference) as archive:
        first = {key.partition("/")[2]: archive[key] for key in archive.files if key.startswith("0/")}
    np.savez(work / "reference_fp32.npz", **first)


def _note(word: str) -> None:
    errors.print(f"prepare  {word}", markup=False, highlight=False)
