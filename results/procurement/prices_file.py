"""The user's own file of prices: one currency, every price dated, each error at its line."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from harness.gating import Day
from harness.suite import explained
from harness.suite_values import Listed, SuiteModel, problem
from harness.suite_yaml import FileKind, Problem, describe, read, shorten
from results.procurement.prices import Match, Price, Prices
from results.words import UNSHOWABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic_core import ErrorDetails

PRICE_LIST = FileKind("price list", "`harness recommend --example-prices` prints a commented one that is valid")

_MOST = 1e12
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%")
_ONE_CURRENCY = "a plain number in the currency of the file: there is one for all prices, and nothing is converted"
_HINTS = {
    "currency": "one code of ISO 4217 for the whole file, such as currency: EUR; nothing is converted",
    "dated": "the day of the quote, such as dated: 2026-11-01",
    "name": "what the report is to call it, such as name: Edge box",
    "match": 'what the price is of, such as match: {machine: "*EPYC 7B13*"}',
    "prices": "a list with one entry for each machine or device",
    "utilisation": "a share, written 70% or 0.7",
    "spares": "a share of the devices needed, written 10% or 0.1",
    **dict.fromkeys(("price", "per_hour", "host", "electricity_per_kwh"), _ONE_CURRENCY),
}


def read_prices(path: Path, today: date | None = None) -> Prices:
    """Return the prices in a file. No price may be dated after ``today``: a day that has begun somewhere on Earth.

    Raises ``SuiteError`` whose message begins with ``file:line:column:`` and lists up to ten problems.
    """
    document = read(path, PRICE_LIST)
    try:
        said = PriceList.model_validate(document.data)
    except ValidationError as error:
        whole = PriceList.model_json_schema()
        raise document.error([_problem(details, whole) for details in error.errors(include_url=False)]) from error
    problems = list(_between(said.prices, today or (datetime.now(UTC) + timedelta(hours=14)).date()))
    if problems:
        raise document.error(problems)
    return Prices(
        currency=said.currency,
        prices=tuple(_price(quote) for quote in said.prices),
        years=said.years,
        utilisation=said.utilisation,
        spares=said.spares,
        electricity_per_kwh=said.electricity_per_kwh,
        pue=said.pue,
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a price list, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PriceList.model_json_schema()}


def example() -> str:
    """Return a commented price list that is valid; its prices are invented, and it says so."""
    return _EXAMPLE


def _as_share(value: object) -> object:
    """Return ``10%`` as 0.1; what is no text is left as it is."""
    if not isinstance(value, str):
        return value
    match = _PERCENT.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{describe(value)} is no share")
    return float(Decimal(match[1]) / 100)


def _as_spares(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1:
        raise ValueError(f"spares are a share of the devices, not their number: found {shorten(value)}")
    return _as_share(value)


def _as_code(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text):
        meant = f"; did you mean {text.upper()!r}?" if re.fullmatch(r"[A-Za-z]{3}", text) else ""
        hint = "three capital letters, as ISO 4217 has them: EUR, USD, JPY"
        raise problem((), f"{describe(text)} is no code of a currency{meant}", hint)
    return text


def _one_line(text: str) -> str:
    """Return text that has a visible form on one line, whatever it is shown in."""
    found = UNSHOWABLE.search(text) or re.search(r"[\t\n]", text)
    if found:
        raise ValueError(f"the character U+{ord(found[0]):04X} has no place in one line of text: remove it")
    return text


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("there is nothing to read in it")
    return _one_line(text)


_SHARE_FORMS = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": "%$"}]}
Money = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_words)]
Currency = Annotated[str, AfterValidator(_as_code), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]
Utilisation = Annotated[float, Field(gt=0, le=1), BeforeValidator(_as_share), WithJsonSchema(_SHARE_FORMS)]
Spares = Annotated[float, Field(ge=0, le=1), BeforeValidator(_as_spares), WithJsonSchema(_SHARE_FORMS)]


def _never_null(schema: dict[str, Any]) -> None:
    """Take null out of what the JSON Schema allows: a key that says nothing is left out."""
    for said in schema["properties"].values():
        if {"type": "null"} in said.get("anyOf", ()):
            said.update(next(form for form in said.pop("anyOf") if form != {"type": "null"}))
            said.pop("default")


def _matching(schema: dict[str, Any]) -> None:
    _never_null(schema)
    schema["minProperties"] = 1


def _quote(schema: dict[str, Any]) -> None:
    _never_null(schema)
    schema["oneOf"] = [{"required": ["price"]}, {"required": ["per_hour"]}]


class _Said(SuiteModel):
    """A mapping in which a key that says nothing is left out, never null."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_said(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            raise ValueError(f"{info.field_name} is empty: give it a value, or leave the key out")
        return value


class Matching(_Said):
    """What a price is of. Every pattern that is given must hold; `*` stands for any text, case is ignored."""

    model_config = ConfigDict(json_schema_extra=_matching)

    machine: Words | None = Field(None, description="Pattern of the machine's label, as the report shows it.")
    hw_id: Words | None = Field(None, description="Pattern of the `hw_id` that the report names under Method.")
    device: Words | None = Field(None, description="Pattern of the device of a row, such as `cpu` or `cuda:*`.")

    @model_validator(mode="after")
    def _says_something(self) -> Matching:
        if not self.model_fields_set:
            raise ValueError("at least one of machine, hw_id and device is needed")
        return self


class Quote(_Said):
    """The price of one unit: a machine, or a device that a host carries. Bought, or rented by the hour."""

    model_config = ConfigDict(json_schema_extra=_quote)

    name: Words = Field(description="What the report calls it; no two prices share one.")
    match: Matching = Field(description="What the price is of.")
    dated: Day = Field(description="The day of the quote, such as 2026-11-01; none in the future.")
    price: Money | None = Field(None, description="To buy one. Either this or `per_hour` is given.")
    per_hour: Money | None = Field(None, description="To rent one for an hour, electricity included.")
    host: Money = Field(0.0, description="To buy what carries the devices, where it is not in `price`.")
    devices_per_host: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="How many of them a host carries.")
    watts: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="Power of one at full load, its share of the host included; counts instead of what was measured.",
    )
    source: Annotated[str, Field(max_length=1_000), AfterValidator(_one_line)] = Field(
        "", description="Where the price is from: an offer, an invoice, a page."
    )

    @model_validator(mode="after")
    def _is_bought_or_rented(self) -> Quote:
        given = self.model_fields_set
        if len(given & {"price", "per_hour"}) != 1:
            raise ValueError("either price (to buy) or per_hour (to rent) is needed, and not both")
        if self.per_hour is not None and given & {"host", "devices_per_host"}:
            raise ValueError("what is rented by the hour has no host to buy: its share belongs into per_hour")
        if "devices_per_host" in given and "host" not in given:
            raise ValueError("devices_per_host says nothing without the price of a host")
        return self


class PriceList(_Said):
    """What machines cost, in one currency."""

    model_config = ConfigDict(json_schema_extra=_never_null)

    version: Literal[1] = Field(1, description="Version of this format.")
    currency: Currency = Field(description="Code of ISO 4217, of every amount in the file; nothing is converted.")
    prices: Annotated[tuple[Quote, ...], Listed, Field(min_length=1)] = Field(description="One entry a unit.")
    years: Annotated[float, Field(gt=0, le=100)] = Field(3.0, description="Years that a purchase is spread over.")
    utilisation: Utilisation = Field(
        0.7, description="The most of its sustained throughput that a device is to be loaded with, `70%` or `0.7`."
    )
    spares: Spares = Field(0.0, description="Devices kept besides, as a share of those needed, rounded up: `10%`.")
    electricity_per_kwh: Money | None = Field(
        None, description="Price of a kilowatt hour; where absent, energy is not in the cost."
    )
    pue: Annotated[float, Field(ge=1, le=10)] = Field(
        1.0, description="Power usage effectiveness: energy of the site / energy of its machines."
    )


def _problem(details: ErrorDetails, whole: dict[str, Any]) -> Problem:
    """Return what pydantic found, with what to do about it."""
    found = explained(details, whole)
    key = str(details["loc"][-1]) if details["loc"] else ""
    if details["type"] == "extra_forbidden" and key == "currency":
        return replace(found, message="a price has no currency of its own", hint=_ONE_CURRENCY)
    # Nothing has no place of its own: where it would stand may be the next line.
    return replace(found, hint=found.hint or _HINTS.get(key, ""), at_key=found.at_key or details["input"] is None)


def _between(quotes: tuple[Quote, ...], today: date) -> Iterator[Problem]:
    """Yield what is wrong with entries beside each other, and with their days."""
    names: dict[str, int] = {}
    matches: dict[tuple[str | None, ...], str] = {}
    for index, quote in enumerate(quotes):
        place = ("prices", index)
        if quote.dated > today:
            yield Problem((*place, "dated"), f"{quote.dated} is in the future", _HINTS["dated"])
        name = quote.name.strip().casefold()
        if name in names:
            message = f"the name {shorten(quote.name)!r} is taken by entry {names[name] + 1}"
            yield Problem((*place, "name"), message, "give every price a name of its own")
        patterns = tuple(_folded(said) for said in (quote.match.machine, quote.match.hw_id, quote.match.device))
        if patterns in matches:
            message = f"the price {shorten(matches[patterns])!r} is of the same"
            yield Problem((*place, "match"), message, "keep the price that holds, or narrow the patterns of one")
        names.setdefault(name, index)
        matches.setdefault(patterns, quote.name)


def _folded(pattern: str | None) -> str | None:
    return None if pattern is None else pattern.casefold()


def _price(quote: Quote) -> Price:
    return Price(
        name=quote.name,
        match=Match(quote.match.machine, quote.match.hw_id, quote.match.device),
        dated=quote.dated,
        price=quote.price,
        per_hour=quote.per_hour,
        host=quote.host,
        devices_per_host=quote.devices_per_host,
        watts=quote.watts,
        source=quote.source,
    )


_EXAMPLE = """\
# What machines cost, for `harness recommend --prices`.
# EVERY AMOUNT IN THIS EXAMPLE IS INVENTED: replace with your own quotes.
version: 1
currency: EUR                 # of every amount below; nothing is converted
years: 3                      # that a purchase is spread over
utilisation: 70%              # the most of its sustained throughput that a device is loaded with
spares: 10%                   # devices kept besides, rounded up
electricity_per_kwh: 0.10     # leave the line out and energy is not in the cost
pue: 1.5                      # energy of the site / energy of its machines

prices:
  - name: Example box         # a whole machine: nothing else is needed to run it
    match: {machine: "*Example CPU*"}      # its label in the report; * stands for any text
    dated: 2026-01-15
    price: 1000               # to buy
    watts: 100                # at full load; counts instead of what was measured
    source: invented          # the offer, the invoice or the page that you have it from

  - name: Example card        # a device, of which a host carries four
    match: {machine: "*Example GPU*", device: "cuda:*"}
    dated: 2026-01-15
    price: 2000
    host: 4000
    devices_per_host: 4
    source: invented

  - name: Example instance    # rented: electricity and host are in the rent
    match: {machine: "*Example Cloud*"}
    dated: 2026-01-15
    per_hour: 1.00
    source: invented
"""
