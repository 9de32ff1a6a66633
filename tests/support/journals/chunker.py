"""Cuts a completion into the chunks of a stream, as some server might: a means to test that they add up to it again."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

from tapeline.pipeline.wire.json_text import dumps

Object = dict[str, Any]
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


class Chunker:
    """Cuts at random places, in the order that its random numbers give."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def body(self, completion: Object, end: str = "\n") -> bytes:
        """The event stream of a completion, with these line ends."""
        chunks = [*self.chunks(completion), "[DONE]"]
        texts = [chunk if isinstance(chunk, str) else dumps(chunk) for chunk in chunks]
        return "".join(f"data: {text}{end}{end}" for text in texts).encode()

    def chunks(self, completion: Object) -> list[Object]:
        """The chunks: those of each choice in their order, the choices mixed."""
        about = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
        about["object"] += ".chunk"
        queues = [self._choice_chunks(choice) for choice in completion["choices"]]
        chunks = [about | {"choices": [choice]} for choice in self._mixed(queues)]
        for name in set(about) - {"id", "object", "created", "model"}:
            # Whatever is no identity may come once, in any chunk.
            stays = self._random.randrange(len(chunks))
            for position, chunk in enumerate(chunks):
                if position != stays:
                    del chunk[name]
        if "usage" in completion:
            chunks.append(about | {"choices": [], "usage": completion["usage"]})
        return chunks

    def _choice_chunks(self, choice: Object) -> list[Object]:
        parts = [{"delta": delta} for delta in self._deltas(choice["message"])]
        for name, value in choice.items():
            if name == "logprobs" and value is not None:
                parts += [{name: {"content": []}}, *({name: {"content": [token]}} for token in value["content"])]
            elif name not in ("index", "message", "finish_reason"):
                parts.append({name: value})
        parts.append({"delta": {}, "finish_reason": choice["finish_reason"]})
        return [{"index": choice["index"], "finish_reason": None} | part for part in parts]

    def _deltas(self, message: Object) -> list[Object]:
        queues: list[list[Object]] = []
        for name, value in message.items():
            if name in _TEXTS and value is not None:
                queues.append([{name: fragment} for fragment in self._fragments(value)])
            elif name == "tool_calls":
                calls = [self._call_deltas(position, call) for position, call in enumerate(value)]
                queues.append([{name: [delta]} for delta in self._mixed(calls)])
            elif name == "function_call":
                first = {name: {"name": value["name"], "arguments": ""}}
                queues.append([first, *({name: {"arguments": part}} for part in self._fragments(value["arguments"]))])
            elif name == "audio":
                rest = {part: member for part, member in value.items() if part != "transcript"}
                queues.append(
                    [{name: rest}, *({name: {"transcript": part}} for part in self._fragments(value["transcript"]))]
                )
            elif name == "annotations":
                queues.append([{name: []}, *({name: [item]} for item in value)])
            elif name != "role":
                queues.append([{name: value}])
        return [{"role": message["role"]}, *self._mixed(queues)]

    def _call_deltas(self, position: int, call: Object) -> list[Object]:
        function = call["function"]
        first = call | {"index": position, "function": {"name": function["name"], "arguments": ""}}
        fragments = self._fragments(function["arguments"])
        return [first, *({"index": position, "function": {"arguments": fragment}} for fragment in fragments)]

    def _fragments(self, text: str) -> list[str]:
        """The text in pieces; some servers cut between the escapes of one character."""
        units = text.encode("utf-16-le")
        count = len(units) // 2
        places = sorted(self._random.randint(0, count) for _ in range(self._random.randint(0, 3)))
        bounds = [0, *places, count]
        return [units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(bounds)]

    def _mixed(self, queues: list[list[Any]]) -> list[Any]:
        """All that is in the queues, each in its order."""
        queues = [list(queue) for queue in queues if queue]
        mixed = []
        while queues:
            queue = self._random.choice(queues)
            mixed.append(queue.pop(0))
            queues = [queue for queue in queues if queue]
        return mixed
