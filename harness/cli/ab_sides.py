"""The two sides of an A/B comparison looked at, and planned and measured as one run."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness import arms, codec, registry
from harness import plan as planning
from harness.arms import BASE, HEAD, Kind
from harness.cli import ab_model
from harness.cli import campaign as campaigns
from harness.cli.ab_found import Around, of_environments, of_revisions
from harness.errors import HarnessError, PlanError
from harness.interleaved import interleaved
from harness.looks import Looks
from harness.places import unplaced
from harness.plan_order import MEMORY
from harness.policy import PlannedOrder
from harness.presets import PRESETS
from harness.vocabulary import EngineFacts, Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.arms import Arm
    from harness.artifacts import Workshop
    from harness.cli.ab_found import Found, Request
    from harness.cli.campaign import Campaign
    from harness.engine import Engine
    from harness.runner import Setting
    from harness.suite import Suite
    from harness.vocabulary import Plan
    from results.store import RunStore

LAUNCHES = 10
"""Of a cell on each side, where neither the suite nor the user says: +5 % at 2 % spread is found in 97 of 100."""
MEMORY_LAUNCHES = 3
"""Of a memory cell at the least, whatever the preset: one a side has nothing to be held against."""
# How it is measured, which has to be the same on both sides; the rest is what is compared.
_MEASURING = ("preset", "timeout", "fallback", "seed", "percentiles", "cache", "cpus", "builds")


@dataclass(frozen=True)
class Side:
    """One side, looked at."""

    arm: Arm
    campaign: Campaign
    facts: Mapping[str, Any]  # for the manifest


@dataclass(frozen=True)
class Match:
    """Both sides, and the one run of both."""

    base: Side
    head: Side
    campaign: Campaign  # head's, with the plan of both and the engines of both
    suite_text: str
    cap_s: float | None  # for all launches
    again: Request  # makes the same two sides on this machine: places absolute, revisions by their commit

    @property
    def sides(self) -> tuple[Side, Side]:
        """Base, then head."""
        return self.base, self.head


@contextmanager
def opened(request: Request, workshop: Workshop, told: Callable[[str], None]) -> Iterator[Match]:
    """Yield both sides looked at; what was checked out for them is there as long as this lasts.

    Raises ``HarnessError``, of which ``NothingToCompare`` where both sides are one.
    """
    if bool(request.suite) == bool(request.model):
        raise HarnessError("give what to measure: --suite FILE, or --model FILE.onnx", "one of the two")
    engines = _engines()
    known = arms.distributions(engines)
    base, head = arms.read(BASE, request.base, known), arms.read(HEAD, request.head, known)
    arms.check_kinds(base, head)
    around = Around(engines, workshop, told)
    if base.kind is Kind.REVISION:
        with of_revisions(request, base, head) as found:
            yield _matched(request, found, around)
    else:
        yield _matched(request, of_environments(request, base, head, around), around)


def _engines() -> dict[str, Engine]:
    """Return every engine whose adapter can be made."""
    found = {}
    for name, entry in registry.registered(registry.ENGINES_GROUP).items():
        try:
            found[name] = registry.engine(entry.target)
        except HarnessError:  # it costs only its own cells; the survey says so where it is asked for
            continue
    return found


def _matched(request: Request, found: tuple[Found, Found], around: Around) -> Match:
    rules = found[1].suite
    launches = request.launches or rules.launches or max(LAUNCHES, PRESETS[rules.preset].launches)
    update = {**{key: getattr(rules, key) for key in _MEASURING}, "launches": launches, "budget": None}
    looked = []
    for each in found:
        around.told(f"{each.arm.name}: {each.arm.written}")
        campaign = campaigns.look(each.suite.model_copy(update=update), each.folder, around.workshop, around.told)
        _check_there(each, campaign)
        looked.append(campaign)
    planned = [_measured_again(plan) for plan in _selected(request.only, looked)]
    base, head = (
        Side(each.arm, replace(campaign, plan=plan), _facts(each, campaign))
        for each, campaign, plan in zip(found, looked, planned, strict=True)
    )
    both = interleaved(*planned)
    if not both.order:
        raise HarnessError("nothing can run on either side", _first_reason(both))
    survey = replace(head.campaign.survey, engines=_of_both(base, head))
    campaign = replace(head.campaign, plan=both, survey=survey)
    again = _again(request, found)
    return Match(base, head, campaign, found[1].text, _cap_s(request, rules), again)


def _again(request: Request, found: tuple[Found, Found]) -> Request:
    suite, model = Path(request.suite), Path(request.model).expanduser()
    return replace(
        request,
        base=found[0].again,
        head=found[1].again,
        suite=str(suite.absolute()) if request.suite and suite.is_file() else request.suite,
        model=str(model.absolute()) if request.model else "",
        refresh=False,
    )


def _cap_s(request: Request, rules: Suite) -> float | None:
    if request.minutes is not None:
        return 60 * request.minutes
    return 60 * ab_model.MINUTES if request.model else rules.budget_s


def _check_there(found: Found, campaign: Campaign) -> None:
    """Raise ``HarnessError`` where a side has none of the engines that are compared on it."""
    troubles = []
    for name in found.engines:
        facts = campaign.survey.engines[name]
        if isinstance(facts, EngineFacts):
            return
        troubles.append((name, facts.message if isinstance(facts, Failed) else facts.reason, facts.hint))
    name, message, hint = troubles[0]
    if found.arm.kind is Kind.INTERPRETER and "No module named" in message and "harness" in message:
        hint = f"install this harness there: {found.arm.interpreter} -m pip install --no-deps inference-harness"
    raise HarnessError(f"{found.arm.said}: {name} cannot be measured: {message}", hint)


def _selected(only: Sequence[str], looked: Sequence[Campaign]) -> tuple[Plan, Plan]:
    """Return the part of each plan that ``--only`` means; a pattern may mean nothing on one side."""
    found, refused = [], []
    for campaign in looked:
        try:
            found.append(planning.select(campaign.plan, only) if only else campaign.plan)
        except PlanError as error:
            refused.append(error)
            found.append(replace(campaign.plan, cells=(), order=()))
    if len(refused) == len(looked):
        raise refused[-1]
    return found[0], found[1]


def _measured_again(plan: Plan) -> Plan:
    """Return a plan with launches enough of its memory cells; it is given an order later."""
    cells = (
        replace(each, launches=max(each.launches, MEMORY_LAUNCHES)) if each.cell.scenario.name == MEMORY else each
        for each in plan.cells
    )
    return replace(plan, cells=tuple(cells))


def _first_reason(plan: Plan) -> str:
    for planned in plan.cells:
        if planned.skipped is not None:
            return f"{planned.cell.label}: {planned.skipped.reason}"
    return "the suite asks for no cell"


def _facts(found: Found, campaign: Campaign) -> dict[str, Any]:
    """Return what the manifest says of a side, without places."""
    versions = {"harness": harness.__version__}
    for name in found.engines:
        facts = campaign.survey.engines[name]
        if isinstance(facts, EngineFacts):
            versions |= {name: facts.version, **facts.versions}
    versions |= found.environment.get("versions", {})
    environment = {**found.environment, "versions": dict(sorted(versions.items()))}
    return {"written": _published(found.arm), "kind": found.arm.kind.value, "environment": environment}


def _published(arm: Arm) -> str:
    """Return what the user wrote without the folders of this machine; of a virtual environment its name is left."""
    python = Path(arm.interpreter)
    if arm.kind is Kind.INTERPRETER and (python.parent.parent / "pyvenv.cfg").is_file():
        return "/".join(python.parts[-3:])
    return unplaced(arm.written)


def _of_both(base: Side, head: Side) -> dict[str, EngineFacts | Skipped | Failed]:
    """Return what was found of each engine: under its name where the sides agree, else one for each side."""
    before, after = base.campaign.survey.engines, head.campaign.survey.engines
    found: dict[str, EngineFacts | Skipped | Failed] = {}
    for name in dict.fromkeys((*after, *before)):
        if name in before and name in after and codec.encode(before[name]) == codec.encode(after[name]):
            found[name] = after[name]
            continue
        for label, facts in ((BASE, before.get(name)), (HEAD, after.get(name))):
            if isinstance(facts, EngineFacts):
                versions = {f"{key}@{label}": version for key, version in facts.versions.items()}
                found[f"{name}@{label}"] = replace(facts, versions=versions)
            elif facts is not None:
                found[f"{name}@{label}"] = facts
    return found


# --- measuring ---------------------------------------------------------------------------------------------------


def prepared(match: Match, told: Callable[[str], None]) -> dict[str, Any]:
    """Return a bench, or why there is none, for every variant of either side."""
    benches: dict[str, Any] = {}
    for side in match.sides:
        cells = [cell for cell in campaigns.runnable(match.campaign.plan) if cell.environment == side.arm.name]
        benches |= campaigns.prepared(side.campaign, cells, told)
    return benches


def setting(match: Match, store: RunStore, benches: Mapping[str, Any]) -> Setting:
    """Return what holds for every launch, each in its own side's interpreter."""
    base, head = (
        campaigns.setting(replace(side.campaign, plan=_part(match.campaign.plan, side.arm.name)), store, benches)
        for side in match.sides
    )
    return replace(
        head,
        limits={**base.limits, **head.limits},
        task_places={**base.task_places, **head.task_places},
        environments={BASE: base.interpreters, HEAD: head.interpreters},
    )


def policy(match: Match, store: RunStore) -> Looks:
    """Return the policy for what is left of the run: its plan, in whole rounds as long as there is time.

    A noisy launch is not made again: its partner of the round had the same noise, and a second try has no partner.
    """
    lost = campaigns.unfinished(store)

    def follow(plan: Plan) -> PlannedOrder:
        return PlannedOrder(plan, noise_retries=0, unfinished=lost)

    def left_s() -> float:
        spent_s = math.fsum(record.duration_ns for record in store.records()) / 1e9
        return math.inf if match.cap_s is None else match.cap_s - spent_s

    return Looks(match.campaign.plan, follow, lambda: None, left_s)


def _part(plan: Plan, name: str) -> Plan:
    return replace(plan, cells=tuple(planned for planned in plan.cells if planned.cell.environment == name))
