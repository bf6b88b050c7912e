"""What the pictures of a page share: its colours by their tokens, its style declarations and outlines, each once."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports.names import SERIES

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
COLOURS = {colour: f"var(--{token})" for token, colour in TOKENS.items()}
"""What the page writes for a colour that stands for a token."""


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
