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
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"(?:(\w+)\s+)?([\d.]+px)\s")
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


@dataclass
class Styles:
    """Style declarations of all figures of a page, each once, as classes: inline styles need a laxer page policy."""

    _names: dict[str, str] = field(default_factory=dict)

    def name(self, declarations: str) -> str:
        """Return the class that stands for ``declarations``."""
        return self._names.setdefault(declarations, f"z{len(self._names)}")

    def css(self) -> str:
        """Return the rules."""
        return "\n".join(f".{name}{{{declarations}}}" for declarations, name in self._names.items())


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


def _rename(root: ET.Element, key: str) -> None:
    """Prefix the ids that something refers to, and drop the others."""
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{key}-{name}")
        link = element.attrib.pop(f"{_XLINK}href", None)
        if link:
            element.set("href", f"#{key}-{link[1:]}")
        clip = element.get("clip-path")
        if clip:
            element.set("clip-path", f"url(#{key}-{clip[5:]}")


def _flatten(element: ET.Element) -> None:
    """Put the children of groups that say nothing in their groups' places, and drop what is then empty."""
    children: list[ET.Element] = []
    for child in element:
        _flatten(child)
        if child.tag in (f"{_SVG}g", f"{_SVG}defs") and not len(child):
            continue
        children.extend(child if child.tag == f"{_SVG}g" and not child.attrib else [child])
    element[:] = children


def _restyle(element: ET.Element, styles: Styles) -> None:
    for attribute in ("d", "x", "y", "width", "height", "transform"):
        value = element.get(attribute)
        if value:
            rounded = _NUMBER.sub(lambda match: f"{float(match.group()):.2f}".rstrip("0").rstrip("."), value)
            element.set(attribute, " ".join(rounded.split()))
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
    names = [element.get("class", ""), styles.name(";".join(kept))]
    element.set("class", " ".join(name for name in names if name))
