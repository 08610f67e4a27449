"""The table that hosts build their panels from says what the nodes say."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import pytest

from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.plugin.params import GUIDE, PREFILTER, Param


@pytest.mark.parametrize(("table", "node"), [(PREFILTER, PrefilterParams), (GUIDE, GuideParams)])
def test_names_types_and_defaults_are_the_nodes(table: Mapping[str, Param], node: Any) -> None:
    assert list(table) == [field.name for field in fields(node)]
    for field in fields(node):
        param = table[field.name]
        assert type(param.default) is field.type
        assert field.default in (MISSING, param.default)


@pytest.mark.parametrize("table", [PREFILTER, GUIDE])
def test_everything_is_explained(table: Mapping[str, Param]) -> None:
    for param in table.values():
        assert param.low <= param.default <= param.high
        assert type(param.low) is type(param.high) is type(param.default)
        assert param.label.istitle() and 20 < len(param.sentence) < 100 and not param.sentence.endswith(".")
