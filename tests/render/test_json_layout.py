"""The indented layout is `json.dumps`'s, byte by byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpuverify.render.result_json import document_text

_LEAVES = st.none() | st.booleans() | st.integers() | st.text()
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _TREES, max_size=4))
def test_documents_are_laid_out_as_json_does(document: dict[str, Any]) -> None:
    assert document_text(document) == json.dumps(document, indent=2) + "\n"
    compact = json.dumps(document, separators=(",", ":"))
    assert document_text(document, compact=True) == compact + "\n"
