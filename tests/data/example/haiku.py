import asyncio

import openai
import pytest

ASK = "Write a haiku about routers."


def write_haiku():
    with openai.OpenAI() as client:
        chunks = client.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": ASK}], stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def write_haiku_meanwhile():
    async with openai.AsyncOpenAI() as client:
        answer = await client.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": ASK}])
        return answer.choices[0].message.content


@pytest.mark.tapeline("haiku")
def test_a_haiku_has_three_lines():
    assert len(write_haiku().splitlines()) == 3


@pytest.mark.tapeline("haiku-meanwhile")
def test_a_haiku_has_three_lines_meanwhile():
    assert len(asyncio.run(write_haiku_meanwhile()).splitlines()) == 3
