"""A program with the openai SDK: it sends the requests of a file, and prints what the SDK made of the responses.

    python python_client.py CASES

It knows nothing about recorders: it gets proxies and certificates from its environment, if at all.
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

Json = dict[str, Any]
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


def completions(case: Json) -> Any:
    return client(case["base_url"]).chat.completions


def async_completions(case: Json) -> Any:
    return async_client(case["base_url"]).chat.completions


def whole(case: Json, result: Json) -> None:
    result["completion"] = completions(case).create(**case["request"]).to_dict()


def whole_without_key(case: Json, result: Json) -> None:
    headers = {"Authorization": openai.omit}
    result["completion"] = completions(case).create(**case["request"], extra_headers=headers).to_dict()


def streamed(case: Json, result: Json) -> None:
    keep_all(completions(case).create(**case["request"], stream=True), result)


def helper(case: Json, result: Json) -> None:
    with completions(case).stream(**case["request"]) as stream:
        try:
            result["completion"] = stream.get_final_completion().to_dict()
        except Exception:
            result["completion"] = snapshot(stream)
            raise


def raw(case: Json, result: Json) -> None:
    response = completions(case).with_raw_response.create(**case["request"])
    result["request_id"] = response.headers["x-request-id"]
    result["completion"] = response.parse().to_dict()


def raw_streamed(case: Json, result: Json) -> None:
    response = completions(case).with_raw_response.create(**case["request"], stream=True)
    result["request_id"] = response.headers["x-request-id"]
    keep_all(response.parse(), result)


def unread(case: Json, result: Json) -> None:
    with completions(case).with_streaming_response.create(**case["request"]) as response:
        result["request_id"] = response.headers["x-request-id"]
        result["completion"] = json.loads("".join(response.iter_text()))


def unread_streamed(case: Json, result: Json) -> None:
    with completions(case).with_streaming_response.create(**case["request"], stream=True) as response:
        result["request_id"] = response.headers["x-request-id"]
        lines = [line.removeprefix("data: ") for line in response.iter_lines()]
        result["chunks"] = [json.loads(line) for line in lines if line.startswith("{")]


def parsed(case: Json, result: Json) -> None:
    completion = completions(case).parse(**case["request"] | {"response_format": Event})
    result["completion"] = completion.to_dict()
    result["parsed"] = completion.choices[0].message.parsed.model_dump()


def helper_parsed(case: Json, result: Json) -> None:
    with completions(case).stream(**case["request"] | {"response_format": Event}) as stream:
        completion = stream.get_final_completion()
    result["completion"] = completion.to_dict()
    result["parsed"] = completion.choices[0].message.parsed.model_dump()


def left_by_break(case: Json, result: Json) -> None:
    result["chunks"] = []
    for chunk in completions(case).create(**case["request"], stream=True):
        result["chunks"].append(chunk.to_dict())
        if len(result["chunks"]) == case["leaves_after"]:
            break


def left_by_close(case: Json, result: Json) -> None:
    stream = completions(case).create(**case["request"], stream=True)
    result["chunks"] = [next(stream).to_dict() for _ in range(case["leaves_after"])]
    stream.close()


async def async_whole(case: Json, result: Json) -> None:
    result["completion"] = (await async_completions(case).create(**case["request"])).to_dict()


async def async_streamed(case: Json, result: Json) -> None:
    result["chunks"] = []
    async for chunk in await async_completions(case).create(**case["request"], stream=True):
        result["chunks"].append(chunk.to_dict())


async def async_helper(case: Json, result: Json) -> None:
    async with async_completions(case).stream(**case["request"]) as stream:
        try:
            result["completion"] = (await stream.get_final_completion()).to_dict()
        except Exception:
            result["completion"] = snapshot(stream)
            raise


async def async_left(case: Json, result: Json) -> None:
    stream = await async_completions(case).create(**case["request"], stream=True)
    result["chunks"] = [(await anext(stream)).to_dict() for _ in range(case["leaves_after"])]
    await stream.close()


METHODS = {
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


def keep_all(chunks: Any, result: Json) -> None:
    """Keep every chunk, including those before an exception."""
    result["chunks"] = []
    for chunk in chunks:
        result["chunks"].append(chunk.to_dict())


def snapshot(stream: Any) -> Any:
    """Return what a helper has assembled so far; None if nothing."""
    try:
        return stream.current_completion_snapshot.to_dict()
    except AssertionError:
        return None


def described(error: Exception) -> Json:
    fields = {name: getattr(error, name, None) for name in ERROR_FIELDS}
    own = isinstance(error, openai.OpenAIError)
    return {"class": type(error).__name__, "message": str(error), "own": own, **fields}


async def run(case: Json) -> Json:
    result: Json = {}
    try:
        call = METHODS[case["method"]](case, result)
        if inspect.isawaitable(call):
            await call
    except Exception as error:  # noqa: BLE001 - any exception is what the SDK made of the response
        result["raised"] = described(error)
    return result


async def main(path: str) -> None:
    cases = json.loads(Path(path).read_text())
    json.dump([await run(case) for case in cases], sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
