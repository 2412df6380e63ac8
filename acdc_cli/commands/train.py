"""acdc-train: one run, or with -m a sweep. No torch here: --help and tab completion must answer at once."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from argparse import Namespace
from contextlib import suppress

from acdc_cli.commands.console import output_closed
from acdc_cli.config.command_line import check_overrides, key_of, rewrite
from acdc_cli.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, AcdcError, BadInput
from acdc_cli.launch.flags import as_arguments, flags_of
from acdc_cli.launch.messages import print_error, say
from acdc_cli.system.signals import interrupt, is_heard


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
        code = _dispatch(flags_of(rewrite(arguments)))
        sys.stdout.flush()  # here, where a closed pipe can still be told from a crash
        return code
    except AcdcError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return output_closed()
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED


def _dispatch(flags: Namespace) -> int:
    """Print, sweep or run. What is not needed for that is not imported."""
    if flags.help:
        from acdc_cli.launch.help import print_help

        print_help(flags.overrides, flags.config_dir)
        return EXIT_DONE
    if flags.hydra_help or flags.version or flags.shell_completion or flags.info is not None:
        from acdc_cli.launch.help import print_by_hydra

        print_by_hydra(as_arguments(flags))
        return EXIT_DONE
    is_sweep = flags.multirun or "hydra.mode=MULTIRUN" in flags.overrides
    if is_sweep and not flags.cfg:
        from acdc_cli.launch.train import sweep

        check_overrides(flags.overrides, True, flags.config_dir)
        return sweep(as_arguments(flags))
    if flags.cfg == "job" and flags.resolve:
        from acdc_cli.config.compose import compose_config
        from acdc_cli.config.text import to_yaml

        print(to_yaml(compose_config(flags.overrides, flags.config_dir)), end="")
    elif _concerns_hydra(flags):
        from acdc_cli.launch.train import run_by_hydra

        check_overrides(flags.overrides, is_sweep, flags.config_dir)
        run_by_hydra(as_arguments(flags))
    else:
        from acdc_cli.launch.train import run_overrides

        run_overrides(flags.overrides, flags.config_dir)
    return EXIT_DONE


def _concerns_hydra(flags: Namespace) -> bool:
    """Whether keys or files of Hydra's own can change a single run; without them it needs no Hydra around it."""
    own = (flags.cfg, flags.config_dir, flags.config_path, flags.config_name, flags.experimental_rerun)
    return any(own) or any(key_of(each).startswith("hydra") for each in flags.overrides)
