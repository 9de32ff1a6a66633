"""A client program, run beside the recorder: asks twice, whole and streamed, and prints what it read.

    python ask.py CLIENT BASE_URL MODEL

It knows nothing of proxies and certificates; whatever leads it through the recorder is not its doing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

HEADERS = {"Authorization": "Bearer sk-test"}


def question(model: str, *, stream: bool) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return asked | {"stream": True, "stream_options": {"include_usage": True}} if stream else asked


def by_requests(base_url: str, model: str) -> tuple[str, str]:
    import requests

    url = base_url + "/chat/completions"
    whole = requests.post(url, json=question(model, stream=False), headers=HEADERS, timeout=30)
    with requests.post(url, json=question(model, stream=True), headers=HEADERS, timeout=30, stream=True) as streamed:
        body = b"".join(streamed.iter_content(None))
    return whole.text, body.decode()


def by_httpx(base_url: str, model: str) -> tuple[str, str]:
    import httpx

    url = base_url + "/chat/completions"
    with httpx.Client(headers=HEADERS, timeout=30) as client:
        whole = client.post(url, json=question(model, stream=False))
        with client.stream("POST", url, json=question(model, stream=True)) as streamed:
            return whole.text, "".join(streamed.iter_text())


def by_urllib(base_url: str, model: str) -> tuple[str, str]:
    from urllib.request import Request, urlopen

    texts = []
    for stream in (False, True):
        data = json.dumps(question(model, stream=stream)).encode()
        headers = HEADERS | {"Content-Type": "application/json"}
        with urlopen(Request(base_url + "/chat/completions", data, headers), timeout=30) as answer:
            texts.append(answer.read().decode())
    return texts[0], texts[1]


def by_aiohttp(base_url: str, model: str) -> tuple[str, str]:
    import aiohttp

    async def ask() -> tuple[str, str]:
        url = base_url + "/chat/completions"
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            async with session.post(url, json=question(model, stream=False)) as answer:
                whole = await answer.text()
            async with session.post(url, json=question(model, stream=True)) as answer:
                return whole, b"".join([data async for data in answer.content.iter_any()]).decode()

    return asyncio.run(ask())


def by_openai(base_url: str, model: str) -> tuple[str, str]:
    import openai

    with openai.OpenAI(api_key="sk-test", base_url=base_url, max_retries=0) as client:
        create: Any = client.chat.completions.create
        whole = create(**question(model, stream=False)).model_dump_json(exclude_unset=True)
        chunks = [chunk.model_dump_json(exclude_unset=True) for chunk in create(**question(model, stream=True))]
    return whole, "".join(f"data: {chunk}\n\n" for chunk in chunks)


CLIENTS = {
    "requests": by_requests,
    "httpx": by_httpx,
    "urllib": by_urllib,
    "aiohttp": by_aiohttp,
    "openai": by_openai,
}


def main(client: str, base_url: str, model: str) -> None:
    whole, streamed = CLIENTS[client](base_url, model)
    json.dump({"whole": whole, "streamed": streamed}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
