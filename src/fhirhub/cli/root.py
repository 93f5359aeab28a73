"""The command tree. A command's module is imported when it is called, here and nowhere else.

``serve`` must be at work within a second and ``doctor`` loads half the program, so the table names modules, and
:meth:`_Commands.get_command` is the one place that imports them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from fhirhub import __version__
from fhirhub.errors import FhirError
from fhirhub.settings import SettingsError
from fhirhub.store.programs import PostgresError

COMMANDS = {
    "serve": ("fhirhub.cli.serve", "Migrate the store if needed, and serve it."),
    "import": ("fhirhub.cli.import_", "Load Bundles, NDJSON, gz, zip and folders into the store."),
    "db": ("fhirhub.cli.db", "Migrate, check and reindex the store."),
    "users": ("fhirhub.cli.users", "Add, list, deactivate and activate people, and reset their passwords."),
    "clients": ("fhirhub.cli.clients", "Register, list, change, deactivate and activate apps and systems."),
    "keys": ("fhirhub.cli.keys", "List and renew the keys that sign who signed in."),
    "launch": ("fhirhub.cli.launch", "Print the URL that starts an app on a patient."),
    "audit": ("fhirhub.cli.audit", "Search, verify and export the audit trail."),
    "preview": ("fhirhub.cli.preview", "Show what a user or a role may see and do, and why."),
    "explain": ("fhirhub.cli.explain", "Show how a search runs, and what would help it."),
    "doctor": ("fhirhub.cli.doctor", "Check the surroundings and say what to do."),
    "config": ("fhirhub.cli.config", "Show the effective settings."),
}
"""Name -> (module with a Typer ``app``, what it does)."""


# Typer brings its own copy of click, whose names are private; its public classes lead to them.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_ClickError: type[Exception] = _UsageError.__bases__[0]


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if _module(name)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = _module(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        command.help = command.help or COMMANDS[cmd_name][1]
        return command


def _module(name: str) -> str | None:
    """The module of a command, if this installation has it."""
    module = COMMANDS.get(name, ("", ""))[0]
    return module if module and importlib.util.find_spec(module) else None


root = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fhirhub {__version__}")
        raise typer.Exit


@root.callback()
def fhirhub(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """A FHIR R4 server on Postgres.

    The store is the one of FHIRHUB_DATABASE_URL, or else an embedded one in FHIRHUB_DATA_DIR (./.fhirhub).
    """


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code."""
    as_json = "--json" in arguments
    try:
        result = typer.main.get_command(root)(arguments, prog_name="fhirhub", standalone_mode=False)
    except SettingsError as error:
        return _fail(str(error), 2, as_json)
    except _ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
            return 2
        return _fail(_message(error), getattr(error, "exit_code", 1), as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Interrupted.", 1, as_json)
    except (PostgresError, FhirError, OSError) as error:
        return _fail(str(error), 1, as_json)
    return result if isinstance(result, int) else 0


def _message(error: Any) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\nTry '{context.command_path} --help'." if context is not None else ""
    return error.format_message() + hint


def _fail(text: str, code: int, as_json: bool) -> int:
    """Say why; as JSON on stdout for programs, in any case on stderr for people."""
    if as_json:
        sys.stdout.write(json.dumps({"error": text}) + "\n")
    sys.stderr.write(f"fhirhub: {text}\n")
    return code
