"""The price list: what is read, what is refused at which place, and that schema, example and page agree with it."""

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from harness.errors import SuiteError
from results.procurement import prices_file
from results.procurement.prices import Match, Price, Prices

TODAY = date(2026, 11, 2)
TEXT = """\
currency: EUR
prices:
  - name: Edge box
    match: {machine: "*EPYC*"}
    dated: 2026-11-01
    price: 1480
"""
MORE = """\
  - name: Instance
    match: {hw_id: feed*, device: "cuda:*"}
    dated: 2026-10-01
    per_hour: 0.5
"""
PAGE = Path(__file__).resolve().parents[3] / "docs" / "prices.md"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(text):
        path = Path("prices.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return prices_file.read_prices(path, TODAY)

    return load


def refused(load, text):
    with pytest.raises(SuiteError) as caught:
        load(text)
    assert caught.value.hint
    assert len(caught.value.message) < 3_000
    return caught.value


def edited(old, new):
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_list_with_its_defaults(load):
    box = Price("Edge box", Match(machine="*EPYC*"), date(2026, 11, 1), price=1480.0)
    assert load(TEXT) == Prices("EUR", (box,))


def test_everything_that_can_be_said(load):
    text = edited(
        "price: 1480", "price: 1480.5\n    host: 400\n    devices_per_host: 4\n    watts: 65\n    source: mail"
    )
    text += MORE + "version: 1\nyears: 5\nutilisation: 60%\nspares: 12.5%\nelectricity_per_kwh: 0.31\npue: 1.4\n"
    found = load(text)
    assert found.prices[0] == Price(
        "Edge box",
        Match(machine="*EPYC*"),
        date(2026, 11, 1),
        price=1480.5,
        host=400.0,
        devices_per_host=4,
        watts=65.0,
        source="mail",
    )
    assert found.prices[1] == Price("Instance", Match(None, "feed*", "cuda:*"), date(2026, 10, 1), per_hour=0.5)
    assert (found.years, found.utilisation, found.spares) == (5.0, 0.6, 0.125)
    assert (found.electricity_per_kwh, found.pue) == (0.31, 1.4)


@pytest.mark.parametrize(("said", "share"), [("10%", 0.1), ("'10 %'", 0.1), ("0.1", 0.1), ("0", 0.0), ("100%", 1.0)])
def test_spares_are_a_share(load, said, share):
    assert load(TEXT + f"spares: {said}\n").spares == share


@pytest.mark.parametrize(("said", "share"), [("70%", 0.7), ("0.7", 0.7), ("1", 1.0), ("33.3%", 0.333)])
def test_the_utilisation_is_a_share(load, said, share):
    assert load(TEXT + f"utilisation: {said}\n").utilisation == share


def test_what_is_owned_costs_nothing(load):
    assert load(edited("1480", "0")).prices[0].price == 0.0


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        (edited("currency: EUR\n", ""), "prices.yaml:1:1: the key 'currency' is missing", "such as currency: EUR"),
        (edited("EUR", "eur"), "prices.yaml:1:11: the text 'eur' is no code of a currency; did you mean 'EUR'?", "ISO"),
        (edited("EUR", "€"), "prices.yaml:1:11: the text '€' is no code of a currency", "ISO 4217"),
        (edited("EUR", "[EUR, USD]"), "prices.yaml:1:11: expected text, found a list", "nothing is converted"),
        (
            edited("price: 1480", "price: 1480\n    currency: USD"),
            "prices.yaml:7:5: a price has no currency of its own",
            "there is one for all prices, and nothing is converted",
        ),
        (edited("1480", "1480 USD"), "prices.yaml:6:12: expected a number, found the text '1480 USD'", "converted"),
        (edited("1480", "1,480"), "prices.yaml:6:12: expected a number, found the text '1,480'", "plain number"),
        (edited("1480", "-1"), "prices.yaml:6:12: should be greater than or equal to 0, found -1", "plain number"),
        (edited("1480", "1e13"), "prices.yaml:6:12: should be less than or equal to", ""),
        (edited("1480", "9" * 400), "prices.yaml:6:12: ", ""),
        (edited("1480", ".inf"), "prices.yaml:6:12: '.inf' is no finite number", ""),
        (edited("1480", ".nan"), "prices.yaml:6:12: '.nan' is no finite number", ""),
        (edited("1480", "true"), "prices.yaml:6:12: expected a number, found true", ""),
        (edited("1480", ""), "prices.yaml:6:5: price is empty: give it a value, or leave the key out", ""),
        (edited("price: 1480", "prize: 1480"), "prices.yaml:6:5: unknown key 'prize'; did you mean 'price'?", "known"),
        (
            edited("price: 1480", "per_hour: 1\n    price: 1480"),
            "prices.yaml:3:5: either price (to buy) or per_hour (to rent) is needed, and not both",
            "",
        ),
        (edited("    price: 1480\n", ""), "prices.yaml:3:5: either price (to buy) or per_hour (to rent) is needed", ""),
        (edited("price: 1480", "per_hour: 1\n    host: 2"), "what is rented by the hour has no host to buy", ""),
        (
            edited("price: 1480", "price: 1\n    devices_per_host: 2"),
            "prices.yaml:3:5: devices_per_host says nothing without the price of a host",
            "",
        ),
        (
            edited("price: 1480", "price: 1\n    host: 1\n    devices_per_host: 0"),
            "prices.yaml:8:23: should be greater than or equal to 1, found 0",
            "",
        ),
        (
            edited("price: 1480", "price: 1\n    host: 1\n    devices_per_host: 1.5"),
            "prices.yaml:8:23: expected a whole number, found 1.5",
            "",
        ),
        (edited("price: 1480", "price: 1\n    watts: 0"), "prices.yaml:7:12: should be greater than 0, found 0", ""),
        (edited("    dated: 2026-11-01\n", ""), "prices.yaml:3:5: the key 'dated' is missing", "the day of the quote"),
        (edited("2026-11-01", "2026-11-03"), "prices.yaml:5:12: 2026-11-03 is in the future", "the day of the quote"),
        (edited("2026-11-01", "1.11.2026"), "prices.yaml:5:12: a day is written 2026-12-01, not '1.11.2026'", ""),
        (edited("2026-11-01", "20261101"), "prices.yaml:5:12: ", ""),
        (
            edited("Edge box", "''"),
            "prices.yaml:3:11: String should have at least 1 char",
            "what the report is to call",
        ),
        (edited("Edge box", "' '"), "prices.yaml:3:11: there is nothing to read in it", ""),
        (edited("Edge box", "12"), "prices.yaml:3:11: expected text, found 12", ""),
        (
            edited('{machine: "*EPYC*"}', "{}"),
            "prices.yaml:4:12: at least one of machine, hw_id and device",
            "machine:",
        ),
        (edited('{machine: "*EPYC*"}', '"*EPYC*"'), "prices.yaml:4:12: expected a mapping, found the text", ""),
        (
            edited("{machine:", "{machines:"),
            "prices.yaml:4:13: unknown key 'machines'; did you mean 'machine'?",
            "known",
        ),
        (edited("{machine:", "{cpu: x, machine:"), "prices.yaml:4:13: unknown key 'cpu'", "machine, hw_id, device"),
        ("currency: EUR\nprices: []\n", "prices.yaml:2:9: at least 1 is needed here", "one entry for each machine"),
        ("currency: EUR\n", "prices.yaml:1:1: the key 'prices' is missing", "one entry for each machine"),
        (TEXT + "years: 0\n", "prices.yaml:7:8: should be greater than 0, found 0", ""),
        (TEXT + "utilisation: 0\n", "prices.yaml:7:14: should be greater than 0", "written 70% or 0.7"),
        (TEXT + "utilisation: 70\n", "prices.yaml:7:14: should be less than or equal to 1, found 70", "written 70%"),
        (TEXT + "utilisation: most\n", "prices.yaml:7:14: the text 'most' is no share", "written 70% or 0.7"),
        (TEXT + "spares: 1\n", "prices.yaml:7:9: spares are a share of the devices, not their number: found 1", "10%"),
        (TEXT + "spares: -0.1\n", "prices.yaml:7:9: should be greater than or equal to 0", "written 10%"),
        (TEXT + "spares: 110%\n", "prices.yaml:7:9: should be less than or equal to 1", "written 10%"),
        (TEXT + "pue: 0.9\n", "prices.yaml:7:6: should be greater than or equal to 1, found 0.9", ""),
        (TEXT + "electricity_per_kwh: 0.31 EUR\n", "prices.yaml:7:22: expected a number", "nothing is converted"),
        (
            TEXT + "electricity: 0.31\n",
            "prices.yaml:7:1: unknown key 'electricity'; did you mean",
            "electricity_per_kwh",
        ),
        (TEXT + "version: 2\n", "prices.yaml:7:10: expected 1, found 2", ""),
        (TEXT + MORE.replace("Instance", "edge BOX"), "prices.yaml:7:11: the name 'edge BOX' is taken by entry 1", ""),
        (
            TEXT + MORE.replace('{hw_id: feed*, device: "cuda:*"}', '{machine: "*epyc*"}'),
            "prices.yaml:8:12: the price 'Edge box' is of the same",
            "narrow the patterns",
        ),
    ],
)
def test_each_refusal_names_its_place(load, text, expected, hint):
    error = refused(load, text)
    assert expected in error.message
    assert hint in error.hint


def test_all_that_is_wrong_is_said_at_once(load):
    text = edited("EUR", "euro").replace("1480", "free") + MORE.replace("per_hour", "hourly") + "pue: 0\n"
    places = [line.split(": ")[0] for line in refused(load, text).message.splitlines()]
    assert places == [f"prices.yaml:{place}" for place in ("1:11", "6:12", "10:5", "11:6")]


def test_every_price_of_the_future_is_named(load):
    message = refused(load, (TEXT + MORE).replace("2026-1", "2027-1")).message
    assert re.findall(r"prices.yaml:(\d+):", message) == ["5", "9"]


def test_a_day_that_has_begun_somewhere_is_not_the_future(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(TEXT.replace("2026-11-01", "2020-01-01"))
    assert prices_file.read_prices(path).prices[0].dated == date(2020, 1, 1)
    path.write_text(TEXT.replace("2026-11-01", "9999-12-31"))
    with pytest.raises(SuiteError, match="9999-12-31 is in the future"):
        prices_file.read_prices(path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]\n" for last, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "prices.yaml:1:1: the price list is empty"),
        (b"- 1\n", "prices.yaml:1:1: a price list is a mapping, this is a list"),
        (b"\xff", "prices.yaml:1:1: not UTF-8 text"),
        (b"currency: \x00", "prices.yaml:1:11: the character U+0000 is not text"),
        (b"currency: EUR\ncurrency: USD\n", "prices.yaml:2:1: duplicate key 'currency'"),
        (b"currency: !!python/object/apply:os.system [ls]\n", "are not used in a price list"),
        (b"[" * 100, "nested too deeply"),
        (b"a: " + b"x" * 300_000, "prices.yaml:1:1: larger than 256 KiB"),
        (BOMB, "values once its aliases are expanded"),
        (edited("Edge box", '"a\\0b"'), "prices.yaml:3:11: the character U+0000 has no place in one line"),
        (edited("Edge box", '"a\\nb"'), "prices.yaml:3:11: the character U+000A has no place in one line"),
        (edited("Edge box", "a\u202eb"), "prices.yaml:3:11: the character U+202E has no place in one line"),
        (edited("*EPYC*", "a\u202eb"), "prices.yaml:4:22: the character U+202E has no place in one line"),
        (edited("1480", '1\n    source: "\\e[2J"'), "prices.yaml:7:13: the character U+001B has no place in one line"),
        (edited("Edge box", "x" * 10_000), "prices.yaml:3:11: String should have at most 200 characters"),
        (edited("price: 1480", f"price: 1\n    source: {'x' * 10_000}"), "should have at most 1000 characters"),
        (edited("price:", f"{'x' * 1_000}:"), "prices.yaml:6:5: unknown key 'xxx"),
    ],
    ids=range(17),
)
def test_hostile_files_are_one_message(load, text, expected):
    assert expected in refused(load, text).message


def test_markup_is_text_like_any_other(load):
    hostile = "</script><script>alert(1)</script>"
    assert load(edited("Edge box", f"'{hostile}'")).prices[0].name == hostile


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SuiteError, match="cannot be read") as caught:
        prices_file.read_prices(tmp_path / "none.yaml")
    assert caught.value.hint == "give the path of a price list"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["currency", "prices", "years", "utilisation", "spares", "electricity_per_kwh", "pue", "x"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_any_value_anywhere_is_read_or_refused(load, key, value):
    kept = "".join(line for line in TEXT.splitlines(keepends=True) if not line.startswith(f"{key}:"))
    kept = "currency: EUR\n" if key == "prices" else kept
    try:
        found = load(kept + f"{key}: {json.dumps(value)}\n")
    except SuiteError as error:
        said = error
    else:
        said = None
        assert isinstance(found, Prices)
    assert said is None or said.hint


def test_the_example_is_valid_and_says_that_it_is_invented(load):
    text = prices_file.example()
    assert "INVENTED: replace with your own quotes" in text
    found = load(text)
    assert [price.source for price in found.prices] == ["invented"] * 3
    assert [price.per_hour is None for price in found.prices] == [True, True, False]
    keys = set(re.findall(r"^(?:  - |    )?(\w+):", text, re.MULTILINE)) | {"machine", "device"}
    defined = prices_file.schema()
    known = set(defined["properties"]).union(*(model["properties"] for model in defined["$defs"].values()))
    assert known - keys == {"hw_id"}


def _valid(data, tmp_path):
    """Whether a validator of JSON Schema, which an editor would use, takes the data."""
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft202012Validator(prices_file.schema()).is_valid(data)


def _loaded(text):
    data = YAML(typ="safe", pure=True).load(text)
    for price in data.get("prices", ()):
        price["dated"] = str(price["dated"])
    return data


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (prices_file.example(), True),
        (TEXT, True),
        (TEXT + MORE, True),
        (TEXT + "spares: 0.1\nutilisation: 1\n", True),
        (edited("EUR", "eur"), False),
        (edited("currency: EUR\n", ""), False),
        (edited("    price: 1480\n", ""), False),
        (edited("price: 1480", "price: 1480\n    per_hour: 1"), False),
        (edited("1480", "null"), False),
        (edited("1480", "-1"), False),
        (edited('{machine: "*EPYC*"}', "{}"), False),
        (edited("price:", "prize:"), False),
        (TEXT + "utilisation: 70\n", False),
    ],
    ids=range(13),
)
def test_the_schema_agrees(text, valid, load, tmp_path):
    assert _valid(_loaded(text), tmp_path) is valid
    if valid:
        load(text)
    else:
        refused(load, text)


def test_the_schema_says_what_it_is_and_documents_every_key():
    found = prices_file.schema()
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["required"]) == {"currency", "prices"}
    assert set(found["$defs"]["Quote"]["required"]) == {"name", "match", "dated"}
    assert found["$defs"].keys() == {"Quote", "Matching"}
    for model in (found, *found["$defs"].values()):
        assert model["additionalProperties"] is False
        assert all(said["description"].endswith(".") for said in model["properties"].values())


def _lines(model):
    """Return the line of the page's table for each key of a mapping."""
    for key, said in model["properties"].items():
        default = said.get("default", "")
        required = "required" if key in model.get("required", ()) else f"`{json.dumps(default)}`" if default else ""
        yield f"| `{key}` | {required} | {said['description']} |"


@pytest.mark.parametrize("name", ["PriceList", "Quote", "Matching"])
def test_the_tables_of_the_page_are_those_of_the_schema(name):
    whole = prices_file.schema()
    model = whole["$defs"].get(name, whole)
    page = PAGE.read_text(encoding="utf-8")
    table = re.search(rf"<!-- prices: {name} -->\n(.*?)\n<!-- /prices -->", page, re.DOTALL)[1]
    assert table.splitlines() == ["| key | default | meaning |", "|---|---|---|", *_lines(model)]


def test_the_example_of_the_page_is_valid(load):
    page = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert found
    for text in found:
        load(text)
