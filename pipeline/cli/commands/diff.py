"""`tapeline diff`."""

from __future__ import annotations

from pathlib import Path

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import ExitCode
from ..options import data_option, output_option, utf8
from ..output import note, write_out
from ..prepare import ready_with_prices
from ..progress import waiting

FORMS = ("table", "json", "markdown", "html", "junit")


@click.command()
@click.argument("base", callback=utf8)
@click.argument("candidate", callback=utf8)
@click.option(
    "--match",
    callback=utf8,
    default="request",
    show_default=True,
    help="What makes two exchanges a pair: request, messages, last-user, or a column of exchanges.",
)
@click.option("--fail-on", "rules", metavar="RULES", help="Rules between commas; exit code 1 if one fires.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Show so many changed pairs in full, the gravest first.",
)
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="table", show_default=True, help="Form of the output."
)
@output_option
@data_option
def diff(
    base: str,
    candidate: str,
    match: str,
    rules: str | None,
    limit: int,
    form: str,
    output: Path | None,
    directory: DataDirectory,
) -> int:
    """Say whether the answers of two recordings differ.

    A side is the name of a run, or filters between commas: run, model, provider, since, until. Exchanges are paired
    by what was asked, in the order in which it was asked. What BASE asked several times tells how far its own answers
    differ: no more than that is noise.

    \b
    tapeline diff before after
    tapeline diff evals,model=gpt-4o evals,model=gpt-5 --match messages
    tapeline diff before after --fail-on 'outcome,tool_calls,text>0.2,p95_ttft>20%,cost>5%'

    \b
    A rule is one of
      CHANGE            a pair changed so: outcome, status, error, choices, finish_reason,
                        tool_calls (tool_names or tool_arguments), refusal, text, reasoning, any
      CHANGE>N%         more than N % of the pairs did
      text>X            the texts of a pair differ by more than X, from 0 to 1; so refusal>X
      [STAT_]FIGURE>N%  a figure grew by more than N %, and by more than chance: prompt_tokens,
                        completion_tokens, tokens, cost, ttft, total; by its p50, p95, mean or sum
      unpaired[>N%]     exchanges without a partner
    """
    from ...diff.formats import format_result
    from ...diff.rules import FIRED, read_rules
    from ...diff.run import Comparison, compare

    wanted = Comparison(base, candidate, match, tuple(read_rules(rules)) if rules is not None else (), limit)
    with ready_with_prices(directory) as connection, waiting("Comparing answers"):
        result = compare(connection, wanted)
    write_out(format_result(form, result), output)
    for judged in result.judged:
        note(f"{judged.rule}: {judged.state}: {judged.says}.")
    return ExitCode.RULE if any(judged.state == FIRED for judged in result.judged) else ExitCode.OK
