"""A matplotlib figure as SVG that lives inside a page: its colours are the page's, its ids collide with nothing."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET  # parses nothing but what matplotlib has just written
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from reports.names import SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

# Colours that no figure would use by chance stand for the tokens of the style sheet, so that one picture serves the
# light and the dark page.
TOKENS = {
    "fg": "#010101",
    "muted": "#010102",
    "grid": "#010103",
    "surface": "#010104",
    "part-1": "#010105",
    "part-2": "#010106",
    "part-3": "#010107",
    **{f"series-{index}": f"#0102{index:02x}" for index in range(SERIES)},
}
_COLOURS = {colour: f"var(--{token})" for token, colour in TOKENS.items()}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_SEGMENT = re.compile(r"([MLCQZz])([^MLCQZz]*)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"(?:(\w+)\s+)?([\d.]+px)\s")
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


@dataclass
class Styles:
    """What the figures of a page share, each once: style declarations, as classes, and the outlines of their marks.

    Inline styles would need a laxer policy of the page.
    """

    _names: dict[str, str] = field(default_factory=dict)
    _shapes: dict[str, str] = field(default_factory=dict)

    def name(self, declarations: str) -> str:
        """Return the class that stands for ``declarations``."""
        return self._names.setdefault(declarations, f"z{len(self._names)}")

    def shape(self, outline: str) -> str:
        """Return the id of an outline."""
        return self._shapes.setdefault(outline, f"g{len(self._shapes)}")

    def css(self) -> str:
        """Return the rules."""
        return "\n".join(f".{name}{{{declarations}}}" for declarations, name in self._names.items())

    def shapes(self) -> str:
        """Return the outlines as elements for one ``svg`` of the page."""
        return "\n".join(f'<path id="{name}" d="{outline}"/>' for outline, name in self._shapes.items())


def settings(key: str) -> dict[Any, Any]:
    """Return the matplotlib settings under which a figure is drawn and written: text stays text, ids are fixed."""
    return {"svg.fonttype": "none", "svg.hashsalt": key, "text.parse_math": False, "axes.unicode_minus": True}


def inline(figure: Figure, key: str, tips: Mapping[int, str], styles: Styles) -> ET.Element:
    """Return ``figure`` as an ``svg`` element whose ids begin with ``key``; its styles go to ``styles``.

    Artists whose gid is ``row:<n>:<what>`` are gathered into one group per row, with the tip of that row as its title.
    """
    with warnings.catch_warnings():
        # A name may hold characters that matplotlib's font lacks; the browser's font draws them.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        buffer = io.StringIO()
        with mpl.rc_context(settings(key)):
            figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - our own text of a moment ago
    _strip(root)
    parents = {child: parent for parent in root.iter() for child in parent}
    _gather(root, parents, tips)
    _share(root, styles)
    _unclip(root)
    _rename(root, key)
    for element in root.iter():
        _restyle(element, styles)
    _flatten(root)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    return root


_METADATA = ("Date", "Creator", "Format", "Type")


def describe(root: ET.Element, key: str, title: str, description: str) -> None:
    """Name the picture for those who do not see it."""
    for position, (tag, words) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{_SVG}{tag}", {"id": f"{key}-{tag}"})
        element.text = words
        root.insert(position, element)
    root.attrib.update({"role": "img", "aria-labelledby": f"{key}-title", "aria-describedby": f"{key}-desc"})


def text(root: ET.Element) -> str:
    """Return the markup of an element, ready to stand inside HTML."""
    ET.register_namespace("", _SVG[1:-1])
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _strip(root: ET.Element) -> None:
    """Remove metadata, the style element (it would reach the whole page), and empty paths."""
    for parent in list(root.iter()):
        for child in list(parent):
            empty = child.tag == f"{_SVG}path" and child.get("style", "") == "fill: none"
            if empty or child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
        if parent.text is not None and not parent.text.strip():
            parent.text = None
        for child in parent:
            child.tail = None


def _gather(root: ET.Element, parents: Mapping[ET.Element, ET.Element], tips: Mapping[int, str]) -> None:
    groups: dict[int, ET.Element] = {}
    for element in list(root.iter(f"{_SVG}g")):
        kind, _, rest = element.get("id", "").partition(":")
        if kind != "row":
            continue
        row, _, what = rest.partition(":")
        index, parent = int(row), parents[element]
        if index not in groups:
            group = ET.Element(f"{_SVG}g", {"class": "mark", "data-row": row})
            title = ET.SubElement(group, f"{_SVG}title")
            title.text = tips.get(index, "")
            parent.insert(list(parent).index(element), group)
            groups[index] = group
        parent.remove(element)
        del element.attrib["id"]
        if what:
            element.set("class", what)
        groups[index].append(element)


def _share(root: ET.Element, styles: Styles) -> None:
    """Put the outlines of marks among those that the page has once, and their styles on what is drawn with them."""
    drawn: dict[str, list[ET.Element]] = {}
    for use in root.iter(f"{_SVG}use"):
        drawn.setdefault(use.attrib.pop(f"{_XLINK}href"), []).append(use)
    for defs in root.iter(f"{_SVG}defs"):
        for path in defs.findall(f"{_SVG}path"):
            shape = styles.shape(outline(path.get("d", ""), places=2))
            for use in drawn.get(f"#{path.get('id')}", ()):
                use.set("href", f"#{shape}")
                use.set("style", "; ".join(filter(None, (path.get("style"), use.get("style")))))
            defs.remove(path)


def _unclip(root: ET.Element) -> None:
    """Let the lines of the grid be: they end where the plane does."""
    for element in root.iter():
        if TOKENS["grid"] in element.get("style", ""):
            element.attrib.pop("clip-path", None)


def _rename(root: ET.Element, key: str) -> None:
    """Give what something refers to a short id that begins with ``key``, and take it from all else."""
    text = ET.tostring(root, encoding="unicode")
    used = {name: f"{key}-{place}" for place, name in enumerate(dict.fromkeys(_REFERENCE.findall(text)))}
    for parent in root.iter():
        for child in [each for each in parent if each.tag == f"{_SVG}clipPath" and each.get("id") not in used]:
            parent.remove(child)
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", used[name])
        clip = element.get("clip-path")
        if clip:
            element.set("clip-path", f"url(#{used[clip[5:-1]]})")


def _flatten(element: ET.Element) -> None:
    """Put the children of groups that say nothing in their groups' places, and drop what is then empty."""
    children: list[ET.Element] = []
    for child in element:
        _flatten(child)
        if child.tag in (f"{_SVG}g", f"{_SVG}defs") and not len(child):
            continue
        children.extend(child if child.tag == f"{_SVG}g" and not child.attrib else [child])
    element[:] = children


def outline(path: str, places: int = 1) -> str:
    """Return the ``d`` of a path in few characters: ``places`` decimals, straight steps as ``h`` and ``v``."""
    parts, x, y = [], 0.0, 0.0
    for command, rest in _SEGMENT.findall(path):
        numbers = [round(float(word), places) + 0.0 for word in rest.split()]
        if command != "L":
            parts.append(command + " ".join(_short(number, places) for number in numbers))
        else:
            across, down = round(numbers[0] - x, places), round(numbers[1] - y, places)
            if across and down:
                parts.append(f"l{_short(across, places)} {_short(down, places)}")
            elif across or down:
                parts.append(f"h{_short(across, places)}" if across else f"v{_short(down, places)}")
        if numbers:
            x, y = numbers[-2:]
    return "".join(parts)


def _short(number: float, places: int = 1) -> str:
    text = f"{number:.{places}f}".rstrip("0").rstrip(".") if places else f"{number:.0f}"
    return "0" if text == "-0" else text


def _restyle(element: ET.Element, styles: Styles) -> None:
    for attribute in ("x", "y", "width", "height", "transform"):
        value = element.get(attribute)
        if value:
            rounded = _NUMBER.sub(lambda match: _short(float(match.group())), value)
            element.set(attribute, " ".join(rounded.split()))
    if "d" in element.attrib:
        element.set("d", outline(element.attrib["d"]))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    declared = element.attrib.pop("style", None)
    if declared is None:
        return
    kept = []
    for declaration in declared.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":  # matplotlib 3.10 writes the shorthand, later ones its parts
            match = _FONT.match(value)
            if match:
                kept.append(f"font-size:{match[2]}")
        elif name and name != "font-family":
            kept.append(f"{name}:{_COLOUR.sub(lambda match: _COLOURS.get(match.group(), match.group()), value)}")
    names = [element.get("class", ""), styles.name(";".join(dict.fromkeys(kept)))]
    element.set("class", " ".join(name for name in names if name))
