"""What the page shows, as data: every word and number decided, nothing drawn yet."""

from __future__ import annotations

from dataclasses import dataclass, field

# --- rows and tables ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tag:
    """A short word on a row that qualifies it; ``tone`` is good, bad, warn or plain."""

    text: str
    tone: str = "plain"
    detail: str = ""
    target: str = ""  # id of the part of the page that tells more


@dataclass(frozen=True)
class RowName:
    """How a row is called and drawn wherever it appears."""

    index: int
    variant_id: str
    workload: str
    label: str  # short: only what tells it from its neighbours in the workload
    engine: str
    precision: str
    device: str
    series: int  # colour of the engine
    shape: str  # marker of the precision
    state: str  # completed | partial | failed | skipped | set aside
    doubted: bool = False  # drawn hollow: unranked, noisy, unsteady or drifting
    tags: tuple[Tag, ...] = ()
    machine: str = ""  # label, where rows of several machines stand together; the facet and attribute "machine"


@dataclass(frozen=True)
class Column:
    """A head: its unit and, where the title is not enough, a line of explanation."""

    title: str
    unit: str = ""
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Value:
    """A table cell. ``sort`` orders it (``None`` comes last); ``aside`` is shown smaller: bounds, a unit, a remark."""

    text: str
    sort: float | str | None = None
    aside: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a table, about one row of the results."""

    row: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Table:
    """Values in columns; the head of each line is the name of its row."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Sheet:
    """Values in columns about no row in particular; the first value of a line is its head."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[tuple[Value, ...], ...]


# --- charts: numbers are in the unit of their axis ---------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """A direction of a chart."""

    title: str  # with its unit
    log: bool = False
    places: tuple[float, ...] = ()  # of the ticks, where the values themselves are few; none: round numbers
    within: tuple[float, float] | None = None  # what its values can be, where that has ends


@dataclass(frozen=True)
class Dot:
    """An estimate with its bounds on the line of its row; ``second`` is a diagnostic beside it."""

    row: int
    value: float
    low: float | None
    high: float | None
    tip: str
    shown: str = ""  # the number beside the line
    second: float | None = None
    label: str = ""  # in place of the row's, where the chart says the rest of it


@dataclass(frozen=True)
class DotChart:
    """Dots with whiskers, one line each."""

    id: str
    title: str
    description: str
    axis: Axis
    dots: tuple[Dot, ...]
    second: str = ""  # what the diagnostic is called
    rule: float | None = None  # a reference level
    rule_label: str = ""


@dataclass(frozen=True)
class Spot:
    """A row in the plane."""

    row: int
    x: float
    x_bounds: tuple[float, float] | None
    y: float
    y_bounds: tuple[float, float] | None
    tip: str
    named: bool = False


@dataclass(frozen=True)
class ScatterChart:
    """Spots with whiskers both ways, and the frontier that none of them beats."""

    id: str
    title: str
    description: str
    x: Axis
    y: Axis
    spots: tuple[Spot, ...]
    frontier: tuple[tuple[float, float], ...] = ()
    rule: float | None = None  # a reference level of y
    rule_label: str = ""


@dataclass(frozen=True)
class Curve:
    """Share of samples above each latency."""

    row: int
    points: tuple[tuple[float, float], ...]
    tip: str


@dataclass(frozen=True)
class TailChart:
    """Exceedance curves on a logarithmic share."""

    id: str
    title: str
    description: str
    x: Axis
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Bar:
    """Parts that add up, on the line of their row."""

    row: int
    parts: tuple[float, ...]
    tip: str
    shown: str = ""


@dataclass(frozen=True)
class BarChart:
    """Stacked bars, one line each."""

    id: str
    title: str
    description: str
    axis: Axis
    parts: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Track:
    """Levels reached one after the other, on the line of their row."""

    row: int
    levels: tuple[float, ...]
    tip: str
    shown: str = ""


@dataclass(frozen=True)
class TrackChart:
    """Levels joined by a line, one line each."""

    id: str
    title: str
    description: str
    axis: Axis
    levels: tuple[str, ...]
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Path:
    """Points of a row in the plane; joined in their order where what lies between them was passed through."""

    row: int
    points: tuple[tuple[float, float], ...]
    tip: str
    joined: bool = True


@dataclass(frozen=True)
class LineChart:
    """How one quantity goes with another, one line per row."""

    id: str
    title: str
    description: str
    x: Axis
    y: Axis
    paths: tuple[Path, ...]
    rule: float | None = None  # a reference level of y
    rule_label: str = ""


Chart = DotChart | ScatterChart | TailChart | BarChart | TrackChart | LineChart


# --- the page ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One large number of the verdict."""

    label: str
    value: str
    unit: str = ""
    bounds: str = ""
    note: str = ""
    tone: str = "plain"


@dataclass(frozen=True)
class Verdict:
    """The answer for one workload, in words first."""

    workload: str
    about: str
    headline: str
    leaders: tuple[int, ...]
    figures: tuple[Figure, ...]
    sentences: tuple[str, ...]
    table: Table | None = None  # the rows at a glance


@dataclass(frozen=True)
class Panel:
    """One workload in one section; ``title`` tells several panels of one workload apart."""

    workload: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""
    card: Verdict | None = None  # what the panel comes to, in words and large numbers
    sheets: tuple[Sheet, ...] = ()


@dataclass(frozen=True)
class Section:
    """One measure over all workloads; ``empty`` says why there is nothing to show."""

    id: str
    title: str
    short: str  # in the navigation
    lead: str
    panels: tuple[Panel, ...]
    empty: str = ""


@dataclass(frozen=True)
class Slot:
    """One row in the coverage matrix."""

    row: int
    symbol: str
    words: str
    tone: str


@dataclass(frozen=True)
class Matrix:
    """Engines down, what was asked of them across."""

    workload: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[tuple[Slot, ...], ...]], ...]  # (engine, slots by column)


@dataclass(frozen=True)
class Incident:
    """Something that did not go as asked: to which rows, where, why, what to do."""

    rows: tuple[int, ...]
    scenarios: str
    state: str
    tone: str
    where: str
    reason: str
    hint: str
    logs: tuple[str, ...] = ()
    more: int = 0  # rows beside those that are named


@dataclass(frozen=True)
class Coverage:
    """What ran and what did not, with every reason."""

    summary: str
    matrices: tuple[Matrix, ...]
    incidents: tuple[Incident, ...]
    findings: tuple[Incident, ...]
    sheets: tuple[tuple[str, Sheet], ...] = ()  # by workload, in place of matrices that would be too large


@dataclass(frozen=True)
class Particulars:
    """The long facts of one row, to unfold."""

    row: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Method:
    """On what it was done, how to do it again, and how quiet it was."""

    fingerprint: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]  # (group, facts)
    engines: tuple[tuple[str, str], ...]
    overhead: tuple[tuple[str, str], ...]
    noise: tuple[tuple[str, Table], ...]  # by workload
    command: str
    suite_text: str


@dataclass(frozen=True)
class Downloads:
    """The table of rows as text; the template turns it into links that need no script."""

    name: str  # stem of the file names
    csv: str
    json: str


@dataclass(frozen=True)
class View:
    """The whole page."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    banner: str  # empty unless the run is a screening
    rows: tuple[RowName, ...]
    verdicts: tuple[Verdict, ...]
    caveats: tuple[Tag, ...]
    sections: tuple[Section, ...]
    particulars: tuple[Particulars, ...]
    coverage: Coverage
    method: Method
    downloads: Downloads
    facets: tuple[tuple[str, str, tuple[str, ...]], ...] = field(default=())  # (key, label, values)
    answer: Section | None = None  # the recommendation, before everything else, where one was asked for
    machines: tuple[Sheet, ...] = ()  # runs and machines side by side, where there are several
    notes: tuple[Tag, ...] = ()  # on the whole run: a word, and its sentence as the detail
