"""Runs an SDK's program against the built-in provider through a real recorder, and collects what each of them has.

The program is started like a user's, with `tapeline record -- COMMAND`, so the environment leads it. The recorder uses
the provider as its upstream proxy, so that every system has its own host.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapeline.pipeline.apis.chat_completions.columns import rebuild_completion
from tapeline.pipeline.demo import SYSTEMS, BuiltInProvider, JsonObject, SentResponse, reports_usage
from tapeline.pipeline.wire.json_text import dumps, loads
from tests.clients.sdk.cases import HOSTS, MODELS, Case
from tests.clients.sdk.programs import Program
from tests.support.processes.recorder import TAPELINE, query


@dataclass
class Seen:
    """One case as the SDK, the provider and the recorder saw it."""

    case: Case
    #: What the SDK's program printed.
    result: JsonObject
    rows: list[JsonObject] = field(default_factory=list)
    sent: list[SentResponse] = field(default_factory=list)

    @property
    def row(self) -> JsonObject:
        """The last exchange of the case; only runs of tools have several."""
        return self.rows[-1]

    @property
    def recorded(self) -> JsonObject | None:
        """The completion that was reassembled for the dataset."""
        row: Any = self.row
        document: JsonObject | None = json.loads(dumps(rebuild_completion(row)))
        return document

    @property
    def provided(self) -> JsonObject:
        """The completion as the provider sends it without streaming, and without usage if the response had none."""
        sent = self.sent[-1]
        assert sent.completion is not None
        if reports_usage(sent.request, SYSTEMS[HOSTS[self.case.system]]):
            return sent.completion
        return {name: value for name, value in sent.completion.items() if name != "usage"}

    def expected(self) -> JsonObject:
        """Return what was recorded, in the terms of the files beside `tests/data/streams/*.sse`."""
        is_whole = self.row["outcome"] == "complete"
        error = loads(self.row["error_raw"]) if self.row["error_raw"] else None
        return {"completion": self.recorded, "error": error, "done": is_whole, "finished": is_whole}


Session = dict[str, Seen]


def converse(program: Program, cases: Sequence[Case], folder: Path) -> Session:
    """Run all cases, recorded below `folder`, and return them by their names."""
    data = folder / "recordings"
    with BuiltInProvider(answers=MODELS) as provider:
        recorder = [*TAPELINE, "record", "--data", str(data), "--mode", f"upstream:{provider.url}", "--"]
        results = program.run([case.as_json() for case in cases], folder, recorder)
        sent = provider.sent
    seen = {case.name: Seen(case, result) for case, result in zip(cases, results, strict=True)}
    for row in query(data, "SELECT * FROM exchanges ORDER BY started_at, exchange_id"):
        seen[row["user"]].rows.append(row)
    for response in sent:
        seen[response.request["user"]].sent.append(response)
    return seen


def kept_headers(row: JsonObject) -> dict[str, Any]:
    return {header["name"]: header["value"] for header in row["response_headers"]}
