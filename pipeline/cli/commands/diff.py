"""`tapeline diff`."""

from __future__ import annotations

from pathlib import Path

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...diff.formats import FORMATS, format_result
from ...errors import ExitCode
from ..options import data_option, format_option, output_option, utf8
from ..output import note, write_out
from ..prepare import ready_with_prices
from ..progress import waiting


@click.command()
@click.argument("base", callback=utf8)
@click.argument("candidate", callback=utf8)
@click.option(
    "--match",
    callback=utf8,
    default="request",
    show_default=True,
    help="The value that two exchanges of a pair share: request, messages, last-user, or a column of exchanges.",
)
@click.option("--fail-on", "rules", metavar="RULES", help="Rules between commas; exit code 1 if one fires.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Number of changed pairs to show in full, the most serious first.",
)
@format_option(FORMATS)
@output_option
@data_option
def diff(
    base: str,
    candidate: str,
    match: str,
    rules: str | None,
    limit: int,
    format_name: str,
    output: Path | None,
    directory: DataDirectory,
) -> int:
    """Compare the responses of two recordings.

    A side is the name of a run, or filters between commas: run, model, provider, since, until. Exchanges with the same
    request are paired, in the order in which they were recorded. If BASE has a request several times, its own responses
    show how far they vary: a difference that is no larger counts as noise.

    \b
    tapeline diff before after
    tapeline diff evals,model=gpt-4o evals,model=gpt-5 --match messages
    tapeline diff before after --fail-on 'outcome,tool_calls,text>0.2,p95_ttft>20%,cost>5%'

    \b
    A rule is one of
      CHANGE            a pair has this change: outcome, status, error, choices, finish_reason,
                        tool_calls (tool_names or tool_arguments), refusal, text, reasoning, any
      CHANGE>N%         more than N % of the pairs have it
      text>X            the texts of a pair differ by more than X, from 0 to 1; also refusal>X
      [STAT_]FIGURE>N%  a figure grew by more than N %, and by more than chance: prompt_tokens,
                        completion_tokens, tokens, cost, ttft, total; by its p50, p95, mean or sum
      unpaired[>N%]     exchanges without a partner
    """
    from ...diff.rules import FIRED, read_rules
    from ...diff.run import Comparison, compare

    wanted = Comparison(base, candidate, match, tuple(read_rules(rules)) if rules is not None else (), limit)
    with ready_with_prices(directory) as (connection, prices), waiting("Comparing responses"):
        result = compare(connection, wanted, prices)
    write_out(format_result(format_name, result), output)
    for judged in result.judged:
        note(f"{judged.rule}: {judged.state}: {judged.message}.")
    return ExitCode.RULE if any(judged.state == FIRED for judged in result.judged) else ExitCode.OK
