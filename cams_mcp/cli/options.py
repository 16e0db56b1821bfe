"""The options of `cams_mcp.settings` on the command line, and the settings they make up.

Every option is also an environment variable; the flag takes precedence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cams_mcp.app import check
from cams_mcp.errors import CamsMcpError
from cams_mcp.logs import set_up_logging
from cams_mcp.settings import GROUPS, OPTIONS, Option, Program, Settings, options_of

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class GroupedOption(click.Option):
    """An option that `--help` shows under the title of its group."""

    def __init__(self, *declarations: Any, title: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.title = title


class GroupedCommand(click.Command):
    """A command whose `--help` has a section for each group of options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            title = parameter.title if isinstance(parameter, GroupedOption) else "Options"
            if record := parameter.get_help_record(ctx):
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(name: str, **changes: Any) -> Decorator:
    """The option of a settings field; `changes` are to what it declares."""
    declared = replace(OPTIONS[name], **changes)
    flag = declared.flag
    if declared.type is bool:
        flag = f"{flag}/{flag.replace('--', '--no-', 1)}"

    return click.option(
        flag,
        declared.name,
        cls=GroupedOption,
        title=GROUPS[declared.group],
        type=_type_of(declared),
        default=declared.default,
        multiple=declared.repeatable,
        metavar=declared.metavar,
        help=declared.description,
        envvar=declared.variable,
        show_envvar=True,
        show_default=True,
    )


def _type_of(option: Option) -> click.ParamType[Any, Any] | None:
    is_open = option.more_than is not None
    bounds: dict[str, Any] = {
        "min": option.more_than if is_open else option.least,
        "max": option.most,
        "min_open": is_open,
    }
    if option.choices:
        return click.Choice(option.choices)
    if option.path:
        is_file, exists = option.path == "file", option.path == "existing folder"
        return click.Path(path_type=Path, file_okay=is_file, dir_okay=not is_file, exists=exists)
    if option.value_type is int:
        return click.IntRange(**bounds)
    if option.value_type is float:
        return click.FloatRange(**bounds)
    return None


class Failure(click.ClickException):
    """An error of ours, shown without a traceback."""


def with_options(*options: str | Decorator) -> Decorator:
    """Add options to a command, in this order: settings fields by name, and options of click."""
    decorators = [option(each) if isinstance(each, str) else each for each in options]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda function, add: add(function), reversed(decorators), command)

    return decorate


def with_settings(*more: str | Decorator) -> Decorator:
    """Add the options of `Settings` and the log level, and hand the settings to the command as `settings`."""
    names = options_of(Settings).keys()

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            set_up_logging(given.pop("log_level"), given.get("log_format", Program.log_format))
            chosen = {name: given.pop(name) for name in names}
            with errors_shown():
                settings = Settings(**chosen)
                check(settings)
                return command(settings=settings, **given)

        return with_options(*names, *more, "log_level")(run)

    return decorate


class errors_shown:  # noqa: N801 - used as a function
    """A context manager that shows our own errors as one message and status 1."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, CamsMcpError):
            raise Failure(str(error)) from None
