"""A program with the openai SDK: asks what it is told to and prints, as JSON, what the SDK made of each answer.

    python python_client.py CASES

It knows nothing of recorders: proxies and certificates come to it by the environment, if at all.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import openai
from pydantic import BaseModel

Told = dict[str, Any]
ERROR_FIELDS = ("status_code", "type", "code", "param")


class Event(BaseModel):
    name: str
    date: str
    participants: list[str]


@cache
def client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", base_url=base_url, max_retries=0, timeout=30)


@cache
def async_client(base_url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="sk-test", base_url=base_url, max_retries=0, timeout=30)


def completions(case: Told) -> Any:
    return client(case["base_url"]).chat.completions


def async_completions(case: Told) -> Any:
    return async_client(case["base_url"]).chat.completions


def whole(case: Told, told: Told) -> None:
    told["completion"] = completions(case).create(**case["request"]).to_dict()


def whole_without_key(case: Told, told: Told) -> None:
    headers = {"Authorization": openai.omit}
    told["completion"] = completions(case).create(**case["request"], extra_headers=headers).to_dict()


def streamed(case: Told, told: Told) -> None:
    take_all(completions(case).create(**case["request"], stream=True), told)


def helper(case: Told, told: Told) -> None:
    with completions(case).stream(**case["request"]) as stream:
        try:
            told["completion"] = stream.get_final_completion().to_dict()
        except Exception:
            told["completion"] = snapshot(stream)
            raise


def raw(case: Told, told: Told) -> None:
    answer = completions(case).with_raw_response.create(**case["request"])
    told["request_id"] = answer.headers["x-request-id"]
    told["completion"] = answer.parse().to_dict()


def raw_streamed(case: Told, told: Told) -> None:
    answer = completions(case).with_raw_response.create(**case["request"], stream=True)
    told["request_id"] = answer.headers["x-request-id"]
    take_all(answer.parse(), told)


def unread(case: Told, told: Told) -> None:
    with completions(case).with_streaming_response.create(**case["request"]) as answer:
        told["request_id"] = answer.headers["x-request-id"]
        told["completion"] = json.loads("".join(answer.iter_text()))


def unread_streamed(case: Told, told: Told) -> None:
    with completions(case).with_streaming_response.create(**case["request"], stream=True) as answer:
        told["request_id"] = answer.headers["x-request-id"]
        lines = [line.removeprefix("data: ") for line in answer.iter_lines()]
        told["chunks"] = [json.loads(line) for line in lines if line.startswith("{")]


def parsed(case: Told, told: Told) -> None:
    completion = completions(case).parse(**case["request"] | {"response_format": Event})
    told["completion"] = completion.to_dict()
    told["parsed"] = completion.choices[0].message.parsed.model_dump()


def helper_parsed(case: Told, told: Told) -> None:
    with completions(case).stream(**case["request"] | {"response_format": Event}) as stream:
        completion = stream.get_final_completion()
    told["completion"] = completion.to_dict()
    told["parsed"] = completion.choices[0].message.parsed.model_dump()


def left_by_break(case: Told, told: Told) -> None:
    told["chunks"] = []
    for chunk in completions(case).create(**case["request"], stream=True):
        told["chunks"].append(chunk.to_dict())
        if len(told["chunks"]) == case["leaves_after"]:
            break


def left_by_close(case: Told, told: Told) -> None:
    stream = completions(case).create(**case["request"], stream=True)
    told["chunks"] = [next(stream).to_dict() for _ in range(case["leaves_after"])]
    stream.close()


async def async_whole(case: Told, told: Told) -> None:
    told["completion"] = (await async_completions(case).create(**case["request"])).to_dict()


async def async_streamed(case: Told, told: Told) -> None:
    told["chunks"] = []
    async for chunk in await async_completions(case).create(**case["request"], stream=True):
        told["chunks"].append(chunk.to_dict())


async def async_helper(case: Told, told: Told) -> None:
    async with async_completions(case).stream(**case["request"]) as stream:
        try:
            told["completion"] = (await stream.get_final_completion()).to_dict()
        except Exception:
            told["completion"] = snapshot(stream)
            raise


async def async_left(case: Told, told: Told) -> None:
    stream = await async_completions(case).create(**case["request"], stream=True)
    told["chunks"] = [(await anext(stream)).to_dict() for _ in range(case["leaves_after"])]
    await stream.close()


WAYS = {
    "whole": whole,
    "whole without key": whole_without_key,
    "streamed": streamed,
    "helper": helper,
    "raw": raw,
    "raw streamed": raw_streamed,
    "unread": unread,
    "unread streamed": unread_streamed,
    "parsed": parsed,
    "helper parsed": helper_parsed,
    "left by break": left_by_break,
    "left by close": left_by_close,
    "async whole": async_whole,
    "async streamed": async_streamed,
    "async helper": async_helper,
    "async left": async_left,
}


def take_all(chunks: Any, told: Told) -> None:
    """Every chunk, those before an exception too."""
    told["chunks"] = []
    for chunk in chunks:
        told["chunks"].append(chunk.to_dict())


def snapshot(stream: Any) -> Any:
    """What a helper has put together so far; nothing where it has nothing."""
    try:
        return stream.current_completion_snapshot.to_dict()
    except AssertionError:
        return None


def described(error: Exception) -> Told:
    fields = {name: getattr(error, name, None) for name in ERROR_FIELDS}
    own = isinstance(error, openai.OpenAIError)
    return {"class": type(error).__name__, "message": str(error), "own": own, **fields}


async def ask(case: Told) -> Told:
    told: Told = {}
    try:
        asked = WAYS[case["way"]](case, told)
        if inspect.isawaitable(asked):
            await asked
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the SDK makes of the answer
        told["raised"] = described(error)
    return told


async def main(path: str) -> None:
    cases = json.loads(Path(path).read_text())
    json.dump([await ask(case) for case in cases], sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
