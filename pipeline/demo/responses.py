"""Plans the provider's response to one request, before any of it is sent.

The text comes from `answers`, its spelling from `systems`; `server` sends the plan.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..wire.json_text import JsonObject
from .answers import FIRST_CREATED, Answers, CannedAnswer, Pace, completion, find_answer
from .systems import Problem, System, chunks

DONE = b"data: [DONE]\n\n"
NO_ANSWER = CannedAnswer("no completion")

#: How a response ended.
type Ended = Literal["complete", "reset", "truncated", "client_left", "error_event"]


@dataclass(frozen=True)
class PlannedResponse:
    """The response to one request; `stream` holds the payloads of its events, and is empty if it is sent whole."""

    status: int
    payload: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: CannedAnswer = NO_ANSWER
    stream: tuple[JsonObject, ...] = ()
    error_event: JsonObject | None = None


def plan_response(answers: Answers, request: Any, system: System, serial: int) -> PlannedResponse:
    """Plan the response to a chat completion request; `request` is the JSON of its body, None if it was not JSON."""
    if problem := _problem_with(request, system):
        return refusal(problem, system)
    answer = find_answer(answers, request, system)
    if answer is None:
        return refusal(_unknown_model(request), system)
    if answer.problem and not (answer.cut and request.get("stream")):
        return refusal(answer.problem, system)
    payload = completion(answer, request, system, serial=serial, created=int(time.time()))
    stream = tuple(chunks(payload, system, request)) if request.get("stream") else ()
    event = system.error_event(answer.problem) if answer.problem else None
    return PlannedResponse(200, payload, system.headers, answer, stream, event)


def refusal(problem: Problem, system: System) -> PlannedResponse:
    """Plan an error response in the system's shape."""
    body = problem.body or system.error_body(problem)
    return PlannedResponse(problem.status, body, {**system.headers, **problem.headers})


def model_list(answers: Answers) -> PlannedResponse:
    """Plan the response to GET /models."""
    row = {"object": "model", "created": FIRST_CREATED, "owned_by": "tapeline-demo"}
    return PlannedResponse(200, {"object": "list", "data": [{"id": name, **row} for name in answers]})


def unknown_url(method: str, path: str) -> Problem:
    """The problem with a request for anything but a chat completion or the list of models."""
    message = f"Unknown request URL: {method} {path}"
    return Problem(404, message, "invalid_request_error", code="unknown_url")


def events(response: PlannedResponse) -> tuple[list[bytes], Ended]:
    """Return the events of a stream as bytes, and how the stream is to end."""
    cut = response.answer.cut
    written = [_event(payload) for payload in (response.stream[: cut.after] if cut else response.stream)]
    if cut and cut.how == "error_event":
        return [*written, _event(response.error_event), DONE], "error_event"
    return (written, cut.how) if cut else ([*written, DONE], "complete")


def delays(pace: Pace, count: int, seed: int) -> list[float]:
    """Return the seconds to wait before each of `count` events: as uneven as real ones, and the same for one seed."""
    uneven = random.Random(seed)
    gaps = [pace.gap * uneven.uniform(0.4, 1.6) for _ in range(count)]
    gaps[:1] = [pace.first * uneven.uniform(0.7, 1.3)]
    if 0 < pace.stall_at < count:
        gaps[pace.stall_at] += pace.stall
    return [milliseconds / 1000 for milliseconds in gaps]


def _problem_with(request: Any, system: System) -> Problem | None:
    """Return why no model can serve this request; None if one can."""
    kind = "invalid_request_error"
    if not isinstance(request, dict):
        return Problem(400, "The request body must be a JSON object.", kind)
    model, messages, temperature = (request.get(name) for name in ("model", "messages", "temperature"))
    checks = {
        "model": (isinstance(model or system.default_model, str), "you must provide a model parameter"),
        "messages": (messages and isinstance(messages, list), "messages array must not be empty"),
        "temperature": (_is_temperature(temperature), "temperature must be between 0 and 2"),
    }
    failed = ((message, name) for name, (is_valid, message) in checks.items() if not is_valid)
    return next((Problem(system.bad_value_status, text, kind, param=name) for text, name in failed), None)


def _is_temperature(value: object) -> bool:
    return 0 <= value <= 2 if isinstance(value, int | float) else value is None


def _unknown_model(request: JsonObject) -> Problem:
    message = f"The model `{request['model']}` does not exist or you do not have access to it."
    return Problem(404, message, "invalid_request_error", code="model_not_found")


def _event(payload: JsonObject | None) -> bytes:
    return b"data: %b\n\n" % json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
