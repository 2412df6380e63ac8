"""acdc-train: one run, or with -m a sweep. No torch here: --help and tab completion must answer at once."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout, suppress

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.commands.console import output_closed, print_error, rank
from acdc_cli.commands.job_process import interrupt
from acdc_cli.commands.sweep import record_outcome, run_sweep, summarize
from acdc_cli.config.command_line import TABLES, check_overrides, conf_dir, for_hydra, quoted, rewrite
from acdc_cli.config.schema import Config, register_schema
from acdc_cli.data.held_signals import is_heard
from acdc_cli.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, AcdcError, BadInput

WIDTH_WITHOUT_TERMINAL = 80  # columns
OF_TABLES = re.compile(rf"^{TABLES}: .*\n|(?<!\S){TABLES}=\S* ?", re.MULTILINE)  # in help, and in a completion


def say(line: str) -> None:
    """One line for the user, on stderr."""
    print(f"acdc-train: {line}", file=sys.stderr)


def run_job(composed: DictConfig) -> str | None:
    """Run, or plan, what Hydra composed. Returns the run folder's path; None for a plan."""
    from acdc_cli.config.compose import complete

    hydra_config = HydraConfig.get()
    config = complete(composed, hydra_config.runtime.choices.get("experiment"), list(hydra_config.overrides.task))
    if config.plan:
        _print_plan(config)
        return None
    from acdc_cli.commands.sweep_place import sweep_place
    from acdc_cli.report.table import print_summary
    from acdc_cli.training.execute import execute

    folder = execute(config, say, sweep_place())
    if rank() == 0:
        print_summary(folder)
    return str(folder.path)


def _print_plan(config: Config) -> None:
    """JSON, and nothing else, on stdout; the same timeline for the eye on stderr."""
    from rich.console import Console

    from acdc_cli.report.timeline_text import timeline_text
    from acdc_cli.sparsity.timeline import Phase
    from acdc_cli.training.plan import plan
    from acdc_cli.training.start import locate_start

    planned = plan(locate_start(config))
    phases = re.compile(r"\[\s+(\"\w+\"),\s+(\d+),\s+(\d+)\s+\]")
    print(phases.sub(r"[\1, \2, \3]", json.dumps(planned, indent=2)))  # a phase a line
    console = Console(stderr=True, highlight=False)
    width = console.width if console.is_terminal else WIDTH_WITHOUT_TERMINAL
    console.print(timeline_text([Phase(*span) for span in planned["timeline"]], width), soft_wrap=True)


def sweep_job(composed: DictConfig) -> None:
    """One job of a sweep: nothing that it raises may stop the others."""
    record_outcome(lambda: run_job(composed))


def main() -> None:
    """The console script."""
    for number in filter(is_heard, (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)):
        signal.signal(number, interrupt)
    if "COMP_LINE" in os.environ:  # tab completion runs this program once a Tab, with the line so far
        _complete_line()
    code = run_command_line(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the other ranks when one has: the code stands
    sys.exit(code)


def _complete_line() -> None:
    """Spell out short forms before the word that is being completed; Hydra knows only the long ones."""
    words = os.environ["COMP_LINE"].split(" ")
    with suppress(BadInput):  # a line that is not finished may say anything
        os.environ["COMP_LINE"] = " ".join([words[0], *rewrite(words[1:-1]), words[-1]])


def run_command_line(arguments: list[str]) -> int:
    """What the console script does with its arguments. Returns the exit code."""
    try:
        code = _dispatch(rewrite(arguments))
        sys.stdout.flush()  # here, where a closed pipe can still be told from a crash
        return code
    except AcdcError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("acdc-train: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return output_closed()
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED


def _dispatch(arguments: list[str]) -> int:
    """Check what was typed, then print, sweep or run."""
    flags, unknown = get_args_parser().parse_known_args(arguments)
    if unknown:
        raise BadInput(f"{unknown[0]}: there is no such flag; acdc-train --help lists them")
    if flags.resolve and not flags.cfg and flags.info is None:
        raise BadInput("--resolve: goes with --cfg job, which prints the config")
    register_schema()
    if flags.help or flags.hydra_help or flags.shell_completion or flags.info is not None:
        return _print_help(arguments)
    check_overrides(flags.overrides, flags.multirun, flags.config_dir)
    if flags.cfg == "job" and flags.resolve and not flags.multirun:
        return _print_config(flags.overrides, flags.config_dir)
    return _run_sweep(arguments) if flags.multirun else _run_single(arguments)


def _run_hydra(arguments: list[str], job: Callable[[DictConfig], object]) -> None:
    """Hand the command line to Hydra; its own complaints about a config become one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback and exits on its own
    sys.argv[1:] = for_hydra(arguments)
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        from acdc_cli.config.explain import explain

        raise explain(error) from None


def _print_help(arguments: list[str]) -> int:
    """Let Hydra print, and run nothing. It takes every folder of conf/ for a group; the tables' is none."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            _run_hydra(arguments, run_job)
    finally:  # for some flags Hydra ends the program itself
        print(OF_TABLES.sub("", printed.getvalue()), end="")
    return EXIT_DONE


def _print_config(overrides: list[str], extra_dir: str | None) -> int:
    from acdc_cli.config.compose import compose_config
    from acdc_cli.config.text import to_yaml

    print(to_yaml(compose_config(overrides, extra_dir)), end="")
    return EXIT_DONE


def _run_single(arguments: list[str]) -> int:
    """One run. Its error is carried past Hydra, which would print lines of its own about it."""
    errors: list[Exception] = []

    def job(composed: DictConfig) -> None:
        try:
            run_job(composed)
        except Exception as error:
            errors.append(error)

    _run_hydra(arguments, job)
    if errors:
        raise errors[0]
    return EXIT_DONE


def _run_sweep(arguments: list[str]) -> int:
    """All jobs of a sweep, then one table; jobs that are done already cost nothing."""
    ended = run_sweep(
        lambda folder: _run_hydra(
            [*arguments, f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=."], sweep_job
        )
    )
    code = summarize(ended.outcomes, ended.interrupted, is_shown=rank() == 0)
    if ended.error is not None:
        raise ended.error
    return code
