"""`tapeline export`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...atomic_write import whole_file
from ...errors import UsageError, needs_extra
from ..options import data_option, filter_options, filters_from, format_option, output_option
from ..output import note
from ..prepare import ready_to_query, ready_with_prices

if TYPE_CHECKING:
    from ...export.selection import Count, Exchange

    Pieces = Callable[[Iterable[Exchange], Count], Iterator[str]]

SPANS = "otlp"
FORMS = ("pairs", "finetune", "batch", "har", SPANS)


@click.command()
@filter_options
@format_option(FORMS)
@output_option
@click.option(
    "--endpoint", metavar="URL", help="The collector that spans are sent to.  [default: http://localhost:4318]"
)
@click.option("--with-content", is_flag=True, help="Let spans say what was asked and answered.")
@data_option
def export(
    directory: DataDirectory,
    form: str,
    output: Path | None,
    endpoint: str | None,
    with_content: bool,
    **filters: Any,
) -> None:
    """Give exchanges to other programs.

    \b
    pairs      JSON Lines: request, answer and what was measured, as `tapeline show --json`
    finetune   JSON Lines for fine-tuning: the messages and the answer, where it came whole
    batch      JSON Lines for the Batch API: the requests, to be asked again
    har        HTTP Archive, for the developer tools of a browser
    otlp       OpenTelemetry spans by the conventions for generative AI, sent to a collector over
               OTLP/HTTP; OTEL_EXPORTER_OTLP_* (endpoint, headers, certificate) count as usual

    What a form cannot hold as it was is left out and counted on stderr: texts that were not kept, and, where a program
    would learn from them or send them, texts in which names stand for credentials.

    \b
    tapeline export --run evals -o pairs.jsonl
    tapeline export --model 'gpt-*' --format finetune -o examples.jsonl
    tapeline export --since 2026-11-21 --format otlp --endpoint http://localhost:4318
    """
    from ...export.selection import Count, exchanges

    if form != SPANS and (endpoint is not None or with_content):
        raise UsageError("--endpoint and --with-content are for --format otlp.")
    if form == SPANS and output is not None:
        raise UsageError("--format otlp is sent to --endpoint: leave -o out.")
    looks_at, count = filters_from(**filters), Count()
    has_costs = form == "pairs"
    with (ready_with_prices if has_costs else ready_to_query)(directory) as connection:
        selected = exchanges(connection, looks_at, costs=has_costs)
        if form == SPANS:
            with needs_extra("otlp", "--format otlp"):
                from ...export.otlp import send
            send(selected, count, endpoint, with_content=with_content)
        else:
            _write(_pieces(form)(selected, count), output)
    note(f"Exported {count.told()}.")


def _pieces(form: str) -> Pieces:
    from ...export import har, jsonl

    return {"pairs": jsonl.pair_lines, "finetune": jsonl.finetune_lines, "batch": jsonl.batch_lines, "har": har.pieces}[
        form
    ]


def _write(pieces: Iterator[str], output: Path | None) -> None:
    with _opened(output) as write:
        for piece in pieces:
            write(piece)


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[str], object]]:
    """What writes to standard output, or to a private file, which gets its name when it is whole."""
    if output is None:
        yield lambda text: click.echo(text, nl=False, color=True)
        return
    try:
        with _file_at(output) as file:
            yield lambda text: file.write(text.encode())
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error
    note(f"Wrote {output}")


def _file_at(output: Path) -> AbstractContextManager[BinaryIO]:
    """A file that gets its name when it is whole; a device or a pipe as it is."""
    return output.open("wb") if output.exists() and not output.is_file() else whole_file(output)
