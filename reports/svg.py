"""A matplotlib figure as SVG that lives inside a page: its colours are the page's, its ids collide with nothing."""

from __future__ import annotations

import functools
import warnings
import xml.etree.ElementTree as ET  # elements are made and written; nothing is parsed
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from reports.renderer import Renderer
from reports.styles import TOKENS, Styles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

__all__ = ["TOKENS", "Styles", "describe", "inline", "settings", "text"]


def settings(key: str) -> dict[Any, Any]:
    """Return the matplotlib settings under which a figure is drawn and written: text stays text, ids are fixed.

    They are the same for everyone: what a ``matplotlibrc`` of the user's says is as matplotlib has it.
    """
    ours = {"svg.fonttype": "none", "svg.hashsalt": key, "text.parse_math": False, "axes.unicode_minus": True}
    return {**_usual(), **ours}


@functools.cache
def _usual() -> dict[Any, Any]:
    """Return matplotlib's own value of every setting that is another here; a backend has no part in a page."""
    usual = mpl.rcParamsDefault
    return {name: usual[name] for name in usual if name != "backend" and mpl.rcParams[name] != usual[name]}


def inline(figure: Figure, key: str, tips: Mapping[int, str], styles: Styles) -> ET.Element:
    """Return ``figure`` as an ``svg`` element whose ids begin with ``key``; its styles go to ``styles``.

    Artists whose gid is ``row:<n>:<what>`` are gathered into one group per row, with the tip of that row as its title.
    The figure has 72 dots per inch, so that a point is a CSS pixel; its ground is left out.
    """
    for ground in (figure.patch, *(axes.patch for axes in figure.axes)):
        ground.set_visible(False)
    width, height = (float(inches) * 72 for inches in figure.get_size_inches())
    renderer = Renderer(width, height, key, tips, styles)
    with warnings.catch_warnings():
        # A name may hold characters that matplotlib's font lacks; the browser's font draws them.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        with mpl.rc_context(settings(key)):
            figure.draw(renderer)
    return renderer.finished()


def describe(root: ET.Element, key: str, title: str, description: str) -> None:
    """Name the picture for those who do not see it."""
    for position, (tag, words) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{key}-{tag}"})
        element.text = words
        root.insert(position, element)
    root.attrib.update({"role": "img", "aria-labelledby": f"{key}-title", "aria-describedby": f"{key}-desc"})


def text(root: ET.Element) -> str:
    """Return the markup of an element, ready to stand inside HTML."""
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)
