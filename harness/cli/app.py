"""The commands, and how their errors become one message and an exit code."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import typer

import harness
from harness.cli import (
    ab,
    baseline,
    cache,
    compare,
    doctor,
    export,
    fleet,
    gate,
    history,
    plan,
    recommend,
    report,
    results,
    run,
    suites,
    take,
    verify,
)
from harness.cli.console import errors, explain, say
from harness.cli.exit_codes import ExitCode
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Typer carries a Click of its own since 0.2x and used the distribution before: the base class is found, not imported.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="harness",
    help="Which inference engine, at which precision, on which machine, for this model?",
    epilog="Exit codes: 0 ok · 1 a gate failed · 2 interrupted, resumable · 3 a cell failed · 4 usage or "
    "configuration · 5 nothing ran, or nothing to compare with · 6 inconclusive, with --strict",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.command("recommend")(recommend.recommend)
app.command("doctor")(doctor.doctor)
app.command("rerun")(run.rerun)
app.command("take")(take.take)
app.command("verify")(verify.verify)
app.command("compare")(compare.compare)
app.command("gate")(gate.gate)
app.command("ab")(ab.ab)
app.command("export")(export.export)
app.add_typer(baseline.app, name="baseline")
app.add_typer(history.app, name="history")
app.add_typer(results.app, name="results")
app.add_typer(suites.app, name="suite")
app.add_typer(cache.app, name="cache")
app.add_typer(fleet.app, name="fleet")


@app.callback(invoke_without_command=True)
def options(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    """Which inference engine, at which precision, on which machine, for this model?"""
    if version:
        say(f"harness {harness.__version__}")
        raise typer.Exit


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is one message on the error stream, never a traceback."""
    try:
        result = typer.main.get_command(app).main(list(arguments), prog_name="harness", standalone_mode=False)
    except _UsageError as error:
        return _usage(error)
    except HarnessError as error:
        _explain("error", error.message, error.hint)
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        _explain("interrupted", "nothing measured is lost", "")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does; what is left of the output has no use.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    except OSError as error:
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _explain("error", what, "check that there is space and permission to write there")
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 - the last resort, so that the user gets a word and not a traceback
        if os.environ.get("HARNESS_DEBUG"):
            traceback.print_exc()
        hint = "this is a defect of the harness: please report it with the output of HARNESS_DEBUG=1"
        _explain("internal error", f"{type(error).__name__}: {error}", hint)
        return ExitCode.CELL_FAILED
    return int(result) if isinstance(result, int) else ExitCode.OK


def _usage(error: Any) -> ExitCode:
    if type(error).__name__ == "NoArgsIsHelpError":
        say(error.format_message())
        return ExitCode.USAGE
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` shows how it is used" if context else "`harness --help` shows the commands"
    _explain("error", error.format_message(), hint)
    return ExitCode.USAGE


def _explain(kind: str, message: str, hint: str) -> None:
    errors.print(f"[bold red]{kind}:[/] ", end="")
    explain(message, hint)
