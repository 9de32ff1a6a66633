"""Writes a language model of a few thousand random weights, small enough to be made for every run of the tests.

It knows no language, but its output is the same every time and consists of readable characters. The Python of the
server's own environment, which has `gguf`, runs it: `python make_model.py MODEL.gguf`.
"""

from __future__ import annotations

import sys

import numpy as np
from gguf import GGUFWriter, TokenType

SEED = 7
WIDTH = 32
FEED_FORWARD = 64
HEADS = 2
CONTEXT = 8192
# Some words, besides single characters, like those of real models: with a leading space, or of several bytes.
WORDS = (" the", " quick", " brown", " fox", "ing", " wärmer", " 你好", "🙂", "\n")
CHARACTERS = tuple(map(chr, range(0x20, 0x7F)))
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
# How a tokenizer of this kind writes a space.
SPACE = "\u2581"
CHAT_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


def vocabulary() -> list[tuple[str, TokenType]]:
    """Return the tokens; those of single bytes spell any text that the others cannot."""
    control = [(UNKNOWN, TokenType.UNKNOWN), (BEGIN, TokenType.CONTROL), (END, TokenType.CONTROL)]
    single_bytes = [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    texts = [(text.replace(" ", SPACE), TokenType.NORMAL) for text in (*WORDS, *CHARACTERS)]
    return control + single_bytes + texts


def write_head(writer: GGUFWriter, tokens: list[tuple[str, TokenType]]) -> None:
    """Write the sizes and the tokenizer."""
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_weights(writer: GGUFWriter, tokens: list[tuple[str, TokenType]]) -> None:
    """Write one layer of random numbers."""
    random = np.random.default_rng(SEED)

    def add(name: str, rows: int, columns: int, scale: float = 0.3) -> None:
        writer.add_tensor(name, (scale * random.standard_normal((rows, columns))).astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH, scale=1.0)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{name}.weight", WIDTH, WIDTH)
    for name, rows, columns in (
        ("ffn_gate", FEED_FORWARD, WIDTH),
        ("ffn_up", FEED_FORWARD, WIDTH),
        ("ffn_down", WIDTH, FEED_FORWARD),
    ):
        add(f"blk.0.{name}.weight", rows, columns)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    output = random.standard_normal((len(tokens), WIDTH)).astype(np.float32)
    # The model never emits a bare byte, which may not be a character, nor the end token.
    output[[kind != TokenType.NORMAL for _, kind in tokens]] = 0
    writer.add_tensor("output.weight", output)


def main(path: str) -> None:
    tokens = vocabulary()
    writer = GGUFWriter(path, "llama")
    write_head(writer, tokens)
    write_weights(writer, tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
