from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from benchmarks.history_index import build
from harness.plan_order import SENTINEL
from harness.vocabulary import digest
from results.index import asking, models
from results.index.asking import Wanted
from results.index.building import bring_up_to_date
from results.index.database import opened, prepare, reading
from results.snapshots import snapshot
from results.store import RunStore, runs_in
from results.tags import tag


@pytest.fixture
def session(root):
    with reading(bring_up_to_date(root).place) as session:
        yield session


@pytest.fixture
def filled(tmp_path):
    """Return a maker of an index from (run number, environment of the cell, values, noisy launches)."""

    def made(points, *, hw_id="hw", quantity="latency"):
        place = tmp_path / "index.sqlite"
        engine = opened(place)
        prepare(engine)
        environments = sorted({environment for _, environment, *_ in points})
        blank = {"suite": "s", "preset": "p", "harness_version": "1", "hardware": {}, "drift": "", "damage": []}
        with Session(engine) as session, session.begin():
            for number, environment in enumerate(environments, 1):
                cell = dict.fromkeys(("label", "workload", "engine", "precision", "device", "scenario"), "x")
                session.execute(
                    insert(models.Cell),
                    [{**cell, "id": number, "cell_id": digest(environment), "key": "k" * 64, "named_by": ""}],
                )
            for run in sorted({run for run, *_ in points}):
                facts = {"run_id": f"{run:026d}", "created_at": f"at {run}", "hw_id": hw_id, "env_id": f"e{run}"}
                revision = {"revision": "abc", "dirty": bool(run % 2), "environment": {"kernel": str(run)}}
                rest = {"tags": [], "trouble": "", "journal": "", "seen": ""}
                session.execute(insert(models.Run), [{**blank, **facts, **revision, **rest, "id": 1000 - run}])
            for run, environment, values, noisy in points:
                rows = [
                    {
                        "run": 1000 - run,
                        "cell": 1 + environments.index(environment),
                        "quantity": quantity,
                        "launch": launch,
                        "value": value,
                        "noisy": launch in noisy,
                        "name": "",
                    }
                    for launch, value in enumerate(values)
                ]
                session.execute(insert(models.Reading), rows)
        engine.dispose()
        return place

    return made


def test_a_series_is_what_the_snapshots_say(session, root):
    shown = [snapshot(RunStore.open(run)) for run in runs_in(root)]
    cell = next(cell for cell in shown[0].cells if cell.engine == "torch" and cell.scenario == "latency")
    points = asking.series(session, cell.cell_id, "latency", shown[0].hw_id)
    assert [point.run_id for point in points] == [small.run_id for small in shown]
    for point, small in zip(points, shown, strict=True):
        read = next(each for each in small.cells if each.cell_id == cell.cell_id).reading("latency")
        assert point.values == read.values
        assert point.noisy == len(read.noisy) == 1
        assert (point.created_at, point.env_id, point.revision) == (small.created_at, small.env_id, "")
        assert point.environment == small.environment
    assert asking.series(session, cell.cell_id, "latency", "other hardware") == []
    assert asking.series(session, cell.cell_id, "energy", shown[0].hw_id) == []
    assert asking.series(session, "0" * 64, "latency", shown[0].hw_id) == []


def test_what_is_one_value_of_all_launches_is_not_called_one_launch(session, root):
    small = snapshot(RunStore.open(runs_in(root)[0]))
    told = {
        said.quantity: (asking.series(session, cell.cell_id, said.quantity, small.hw_id)[0], said)
        for cell in small.cells
        for said in cell.readings
    }
    assert {point.by_launch for point, _ in told.values()} == {True, False}
    for point, said in told.values():
        assert point.by_launch == bool(said.launches)


def test_the_newest_points_come_in_the_order_of_the_runs(filled):
    place = filled([(run, "a", [float(run), run + 0.5], {1} if run == 7 else set()) for run in (5, 3, 9, 7)])
    with reading(place) as session:
        points = asking.series(session, digest("a"), "latency", "hw", last=3)
    assert [point.values for point in points] == [(5.0, 5.5), (7.0, 7.5), (9.0, 9.5)]
    assert [point.noisy for point in points] == [0, 1, 0]
    assert [point.revision for point in points] == ["abc+", "abc+", "abc+"]
    assert [point.environment for point in points] == [{"kernel": "5"}, {"kernel": "7"}, {"kernel": "9"}]


def test_a_key_means_the_cells_of_every_environment_and_an_id_one_alone(filled):
    place = filled([(1, "a", [1.0], ()), (1, "b", [2.0], ()), (2, "b", [3.0], ())])
    with reading(place) as session:
        assert [p.values for p in asking.series(session, "k" * 64, "latency", "hw")] == [(1.0,), (2.0,), (3.0,)]
        assert [p.values for p in asking.series(session, digest("b"), "latency", "hw")] == [(2.0,), (3.0,)]


def test_more_runs_than_one_statement_takes(filled):
    place = filled([(run, "a", [float(run)], ()) for run in range(1, 902)])
    with reading(place) as session:
        points = asking.series(session, digest("a"), "latency", "hw", last=900)
    assert [point.values for point in points] == [(float(run),) for run in range(2, 902)]


def test_cells_are_found_by_label_and_by_id(session):
    every = list(asking.cells(session))
    assert [cell.label for cell in every] == sorted(cell.label for cell in every)
    assert len(every) == 4
    assert {cell.scenario for cell in asking.cells(session, "*/memory")} == {"memory"}
    chosen = every[2]
    assert list(asking.cells(session, chosen.label)) == [chosen]
    assert list(asking.cells(session, chosen.cell_id[:12])) == [chosen]
    assert list(asking.cells(session, "nothing")) == []


def test_the_sentinel_is_meant_by_its_name_alone(root, factory, recipes):
    from harness.vocabulary import Launch, PlannedCell, Scenario

    manifest = factory.manifest_of(recipes)
    watch = replace(recipes[0].cell("latency"), scenario=Scenario(SENTINEL))
    manifest["plan"] = replace(manifest["plan"], cells=(*manifest["plan"].cells, PlannedCell(watch, 1)))
    with RunStore.create(root, manifest) as store:
        store.started(watch, Launch(0))
    with reading(bring_up_to_date(root).place) as session:
        assert SENTINEL not in {cell.scenario for cell in asking.cells(session)}
        assert [cell.cell_id for cell in asking.cells(session, f"*{SENTINEL}")] == [watch.cell_id]
        assert [cell.label for cell in asking.cells(session, watch.cell_id[:8])] == [watch.label]


def test_what_is_known_of_a_cell(session):
    cell = next(iter(asking.cells(session, "*torch*/latency")))
    (known,) = asking.quantities(session, cell.cell_id).values()
    assert known["latency"] == known["load"] == 2


def test_runs_are_listed_and_chosen(root):
    first, second = runs_in(root)
    tag(second, "release-1")
    with reading(bring_up_to_date(root).place) as session:
        every = asking.runs(session)
        assert [run.run_id for run in every] == [first.name, second.name]
        assert every[0].cells == {"completed": 2, "failed": 1, "skipped": 1}
        assert every[0].engines == ("onnxruntime", "openvino", "torch")
        assert (every[0].launches, every[1].tags) == (9, ("release-1",))
        for wanted, count in (
            (Wanted(suite="synth*"), 2),
            (Wanted(suite="other"), 0),
            (Wanted(engine="torch"), 2),
            (Wanted(engine="mnn"), 0),
            (Wanted(hw_id="hw-0123"), 2),
            (Wanted(hw_id="0123"), 0),
            (Wanted(tag="release-*"), 1),
        ):
            assert len(asking.runs(session, wanted)) == count, wanted


def test_the_synthetic_index_is_one(tmp_path):
    size = build(tmp_path / "index.sqlite", records=2000, cells=40)
    assert (size.runs, size.cells, size.records) == (10, 40, 2000)
    with reading(size.path) as session:
        found = list(asking.cells(session))
        assert len({cell.label for cell in found}) == 40
        for cell in found[:8]:
            known = asking.quantities(session, cell.cell_id)["hw-synthetic"]
            assert set(known.values()) == {10}
            points = asking.series(session, cell.cell_id, next(iter(known)), "hw-synthetic", last=5)
            assert len(points) == 5
            assert all(value > 0 for point in points for value in point.values)
        indices = session.connection().exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'index'").all()
    assert {"readings_by_cell", "launches_by_run", "states_by_cell"} <= {name for (name,) in indices}


def test_the_queries_can_be_said_to_postgresql(session, monkeypatch):
    said = []
    execute = session.execute

    def noted(statement, *arguments, **options):
        said.append(str(statement.compile(dialect=postgresql.dialect())))
        return execute(statement, *arguments, **options)

    monkeypatch.setattr(session, "execute", noted)
    cell = next(iter(asking.cells(session)))
    asking.quantities(session, cell.cell_id)
    asking.series(session, cell.cell_id, "latency", "hw-0123456789ab")
    asking.runs(session)
    assert len(said) >= 6


def test_the_page_names_every_column():
    page = (Path(__file__).parents[3] / "docs" / "results.md").read_text(encoding="utf-8")
    told = {line.split("`")[1]: line.split("|")[3] for line in page.splitlines() if line.startswith("| `")}
    for table in models.Base.metadata.sorted_tables:
        if table.name != "about":
            assert told[table.name].split("`")[1::2] == [column.name for column in table.columns]
