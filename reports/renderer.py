"""What matplotlib draws a chart on, in place of a file: the elements of one picture of a page."""
# ruff: noqa: ARG002, FBT002, N803, PLR0913, PLR0917 - matplotlib says what the arguments of a renderer are

from __future__ import annotations

import functools
import math
import xml.etree.ElementTree as ET  # elements are made; nothing is parsed
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_hex, to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from reports.styles import COLOURS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.backend_bases import GraphicsContextBase
    from matplotlib.text import Text
    from matplotlib.transforms import Transform
    from matplotlib.typing import ColorType

    from reports.styles import Styles

    _Mathematics = bool | Literal["TeX"]

_COMMANDS = {
    int(Path.MOVETO): ("M", 1),
    int(Path.LINETO): ("L", 1),
    int(Path.CURVE3): ("Q", 2),
    int(Path.CURVE4): ("C", 3),
}
"""What a code of matplotlib's paths is in SVG, and how many points go with it."""
_ANCHORS = {"left": "start", "center": "middle", "right": "end"}
_CAPS = {"projecting": "square", "round": "round"}


class Renderer(RendererBase):
    """Makes the elements of a picture: they refer to the styles of the page, and those of a row stand in one group.

    It draws what charts are made of: lines, marks, areas, and text in a line, all of them opaque. The ids of a picture
    begin with its key; ``tips`` are the titles of the groups of rows.
    """

    def __init__(self, width: float, height: float, key: str, tips: Mapping[int, str], styles: Styles) -> None:
        super().__init__()
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}"})
        self._width, self._height, self._key = width, height, key
        self._tips, self._styles = tips, styles
        self._within = [self._root]  # the element that each open group draws into
        self._rows: dict[int, ET.Element] = {}
        self._clips: dict[tuple[str, ...], str] = {}
        self._shapes: dict[tuple[bytes, ...], str] = {}

    def finished(self) -> ET.Element:
        """Return the picture, once everything is drawn."""
        for row in self._rows.values():
            for group in [each for each in row if each.tag == "g" and not len(each)]:
                row.remove(group)
        if self._clips:
            shared = ET.SubElement(self._root, "defs")
            for bounds, name in self._clips.items():
                clip = ET.SubElement(shared, "clipPath", {"id": name})
                ET.SubElement(clip, "rect", dict(zip(("x", "y", "width", "height"), bounds, strict=True)))
        return self._root

    # --- what matplotlib asks -------------------------------------------------------------------------------------

    def get_canvas_width_height(self) -> tuple[float, float]:
        """Return the size of the picture."""
        return self._width, self._height

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: _Mathematics
    ) -> tuple[float, float, float]:
        """Return the room for a text: the widths of its characters together, and the height that any may have.

        A browser sets text in a font of its own: nothing is gained by measuring every word in matplotlib's.
        """
        font = (tuple(prop.get_family()), prop.get_weight(), prop.get_size_in_points())
        _, height, descent = _measured("lp", *font)
        return sum(_measured(letter, *font)[0] for letter in s), height, descent

    def open_group(self, s: str, gid: str | None = None) -> None:
        """Go into the group of a row, or stay where all else is drawn."""
        kind, _, rest = (gid or "").partition(":")
        into = self._within[-1]
        if kind == "row":
            row, _, what = rest.partition(":")
            into = self._of_row(int(row))
            if what:
                into = ET.SubElement(into, "g", {"class": what})
        self._within.append(into)

    def close_group(self, s: str) -> None:
        """Leave a group."""
        self._within.pop()

    def draw_path(
        self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: ColorType | None = None
    ) -> None:
        """Draw a line, or an area where it has a face."""
        clip = (0.0, 0.0, self._width, self._height) if rgbFace is None else None
        simplify = rgbFace is None and bool(path.should_simplify)
        cleaned = path.cleaned(transform, remove_nans=True, clip=clip, simplify=simplify, curves=True)
        drawn = outline(_segments(cleaned, self._height))
        # A line of the grid ends where the plane does.
        clipped = {} if _ink(*gc.get_rgb()[:3]) == COLOURS[TOKENS["grid"]] else self._clipped(gc)
        if drawn:
            self._add("path", {"d": drawn, **clipped, "class": self._style(gc, rgbFace)})

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: ColorType | None = None,
    ) -> None:
        """Draw a mark at every point of a path, by the outline that the page has once."""
        key = tuple(np.asarray(part).tobytes() for part in (marker_path.vertices, marker_path.codes, marker_trans))
        if key not in self._shapes:
            shape = marker_path.cleaned(marker_trans, curves=True)
            self._shapes[key] = self._styles.shape(outline(_segments(shape, 0.0), places=2))
        said = {"class": self._style(gc, rgbFace), **self._clipped(gc)}
        for x, y in np.asarray(trans.transform(path.vertices)).tolist():
            if math.isfinite(x) and math.isfinite(y):
                place = {"x": _short(x), "y": _short(self._height - y)}
                self._add("use", {"href": f"#{self._shapes[key]}", **place, **said})

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: _Mathematics = False,
        mtext: Text | None = None,
    ) -> None:
        """Draw a line of text by its anchor where it has one: the browser knows how wide it is."""
        declared = {"font-size": f"{_short(prop.get_size_in_points(), 2)}px"}
        if prop.get_weight() not in {"normal", 400}:
            declared["font-weight"] = str(prop.get_weight())
        if mtext is not None and (angle == 0 or mtext.get_rotation_mode() == "anchor"):
            x, y = self._anchor(mtext, x, y, angle)
            declared["text-anchor"] = _ANCHORS[mtext.get_horizontalalignment()]
        declared["fill"] = _ink(*gc.get_rgb()[:3])
        name = self._styles.name(";".join(f"{each}:{value}" for each, value in declared.items()))
        place = {"x": _short(x), "y": _short(y)}
        turned = {"transform": f"rotate({-angle:g} {place['x']} {place['y']})"} if angle else {}
        self._add("text", {**place, **turned, "class": name}).text = s

    # --- pieces ---------------------------------------------------------------------------------------------------

    def _add(self, tag: str, attributes: dict[str, str]) -> ET.Element:
        return ET.SubElement(self._within[-1], tag, attributes)

    def _of_row(self, row: int) -> ET.Element:
        """Return the group of a row; it stands where the row is first drawn."""
        if row not in self._rows:
            self._rows[row] = self._add("g", {"class": "mark", "data-row": str(row)})
            ET.SubElement(self._rows[row], "title").text = self._tips.get(row, "")
        return self._rows[row]

    def _anchor(self, said: Text, x: float, y: float, angle: float) -> tuple[float, float]:
        """Return the anchor of a text on the line that it stands on."""
        across, up = said.get_transform().transform(said.get_unitless_position())
        down = self._height - float(up)
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        shift = (x - float(across)) * sine + (y - down) * cosine
        return float(across) + shift * sine, down + shift * cosine

    def _clipped(self, gc: GraphicsContextBase) -> dict[str, str]:
        box = gc.get_clip_rectangle()
        if box is None:
            return {}
        bounds = tuple(_short(number) for number in (box.x0, self._height - box.y1, box.width, box.height))
        return {"clip-path": f"url(#{self._clips.setdefault(bounds, f'{self._key}-{len(self._clips)}')})"}

    def _style(self, gc: GraphicsContextBase, face: ColorType | None) -> str:
        """Return the class of a line or an area; what the style sheet says of all charts is not said again."""
        declared = {"fill": "none" if face is None else _ink(*to_rgba(face)[:3])}
        width = gc.get_linewidth()
        if width:
            offset, dashes = gc.get_dashes()
            if dashes is not None:
                declared["stroke-dasharray"] = ",".join(_short(length, 2) for length in np.asarray(dashes).tolist())
                declared["stroke-dashoffset"] = _short(float(offset), 2)
            declared["stroke"] = _ink(*gc.get_rgb()[:3])
            if width != 1.0:
                declared["stroke-width"] = _short(float(width), 2)
            if gc.get_joinstyle() != "round":
                declared["stroke-linejoin"] = gc.get_joinstyle()
            if gc.get_capstyle() != "butt":
                declared["stroke-linecap"] = _CAPS[gc.get_capstyle()]
        return self._styles.name(";".join(f"{name}:{value}" for name, value in declared.items()))


@functools.cache
def _ink(red: float, green: float, blue: float) -> str:
    """Return a colour as the page says it: by its token where it stands for one."""
    plain = to_hex((red, green, blue))
    return COLOURS.get(plain, plain)


@functools.lru_cache(maxsize=4096)
def _measured(letters: str, family: tuple[str, ...], weight: str | int, size: float) -> tuple[float, float, float]:
    """Return width, height and descent in matplotlib's font."""
    font = FontProperties(family=list(family), weight=weight, size=size)
    width, height, descent = text_to_path.get_text_width_height_descent(letters, font, ismath=False)
    return width, height, descent


def _segments(path: Path, height: float) -> Iterator[tuple[str, list[float]]]:
    """Yield the commands of a path with their numbers; ``height`` is where its ordinates begin, downwards."""
    points, codes = np.asarray(path.vertices).tolist(), np.asarray(path.codes).tolist()
    place = 0
    while place < len(codes) and codes[place] != Path.STOP:
        if codes[place] == Path.CLOSEPOLY:
            yield "z", []
            place += 1
            continue
        command, count = _COMMANDS[codes[place]]
        yield command, [number for x, y in points[place : place + count] for number in (x, height - y)]
        place += count


def outline(segments: Iterable[tuple[str, Sequence[float]]], places: int = 1) -> str:
    """Return the ``d`` of a path in few characters: ``places`` decimals, straight steps as ``h`` and ``v``."""
    parts, x, y = [], 0.0, 0.0
    for command, given in segments:
        numbers = [round(number, places) + 0.0 for number in given]
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
