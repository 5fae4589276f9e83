"""Named parameters of the Data API, held against what PostgreSQL's own lexer would see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localstack.data_api import fields
from localstack.data_api.errors import DataApiError
from localstack.data_api.statements import number_parameters


@pytest.mark.parametrize(
    ("sql", "numbered"),
    [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1"),
        ("SELECT :a::uuid, x::text", "SELECT $1::uuid, x::text"),
        ("SELECT ':a', \":b\" -- :c\n, :a", "SELECT ':a', \":b\" -- :c\n, $1"),
        ("SELECT $$:a$$, $q$ $$ :b $q$, :a", "SELECT $$:a$$, $q$ $$ :b $q$, $1"),
        ("SELECT E'\\':a', e'', :a", "SELECT E'\\':a', e'', $1"),
        ("SELECT a$b, /* ':a */ :a", "SELECT a$b, /* ':a */ $1"),
        ("DO $$ BEGIN x := :a; END $$", "DO $$ BEGIN x := :a; END $$"),
        ("SELECT f(p := :a)", "SELECT f(p := $1)"),
    ],
)
def test_names_become_numbers_when_they_are_parameters(sql: str, numbered: str) -> None:
    assert number_parameters(sql, {"a", "b"})[0] == numbered


def test_statement_is_refused_when_a_name_has_no_value() -> None:
    with pytest.raises(DataApiError, match="missing"):
        number_parameters("SELECT :missing", {"a"})


@given(st.text(alphabet="ab'\"$:-/*\\ \nE1", max_size=40))
def test_statement_keeps_its_text_when_there_are_no_parameters(sql: str) -> None:
    every_name = {f"{first}{second}" for first in "abE" for second in ["", *"abE1"]}
    numbered, order = number_parameters(sql.replace(":", ": "), every_name)
    assert (numbered, order) == (sql.replace(":", ": "), [])


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\x00"))))
def test_array_reads_back_what_postgresql_wrote(values: list[str]) -> None:
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    text = "{" + ",".join(f'"{value}"' for value in quoted) + "}"
    assert fields.to_field(text, 1009, {}) == {"arrayValue": {"stringValues": values}}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"stringValue": "no uuid"}, "UUID"),
        ({"stringValue": "{"}, "JSON"),
        ({"stringValue": "2026-11-24T10:00:00Z"}, "TIMESTAMP"),
        ({"stringValue": "24.11.2026"}, "DATE"),
        ({"stringValue": "1,5"}, "DECIMAL"),
        ({"longValue": True}, None),
        ({"longValue": 1, "stringValue": "1"}, None),
        ({}, None),
    ],
)
def test_parameter_is_refused_when_it_is_malformed(value: dict[str, object], hint: str) -> None:
    with pytest.raises(DataApiError):
        fields.to_parameter({"name": "a", "value": value, "typeHint": hint})
