"""A completion comes back from its columns as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import examples, json_value, object_with, text
from tests.support.journals.streams import STREAMS, exact, expected

from tapeline.pipeline.apis.chat_completions.columns import flatten_completion, rebuild_completion
from tapeline.pipeline.wire.json_text import dumps, loads


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_completions_of_streams(path: Path) -> None:
    completion = expected(path)["completion"]
    assert exact(rebuild_completion(flatten_completion(completion))) == exact(completion)


call_body = object_with(name=text, arguments=text, input=text)
tool_call = object_with(
    index=st.integers(0, 3), id=text, type=st.just("function"), function=call_body, custom=call_body
)
message = object_with(
    role=st.just("assistant"),
    content=text,
    refusal=text,
    reasoning=text,
    reasoning_content=text,
    thought=text,
    tool_calls=st.lists(tool_call, max_size=3),
    function_call=call_body,
)
choice = object_with(
    index=st.integers(0, 3), message=message, finish_reason=text, logprobs=json_value, log_probs=json_value, text=text
)
completion = object_with(
    id=text,
    object=text,
    model=text,
    created=st.integers(),
    system_fingerprint=text,
    service_tier=text,
    choices=st.lists(choice, max_size=3),
    usage=json_value,
)


@pytest.mark.slow
@examples
@given(completion)
def test_any_completion(completion: dict[str, Any]) -> None:
    completion = loads(dumps(completion))
    assert exact(rebuild_completion(flatten_completion(completion))) == exact(completion)
