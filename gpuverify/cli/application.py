"""The command group: commands are imported when they are invoked, and not before."""

from __future__ import annotations

import sys

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("gpuverify.cli.check", "Check this machine's GPUs against what was sold."),
    "collect": ("gpuverify.cli.collect", "Write down what this machine says, without judging."),
    "appraise": ("gpuverify.cli.appraise", "Judge evidence files and nvidia-smi logs."),
    "record": ("gpuverify.cli.record", "Record every raw call as a redacted test case."),
    "selftest": (
        "gpuverify.cli.selftest",
        "Measure a real card in full and keep the result.",
    ),
    "key": ("gpuverify.cli.key", "Make, list and export signing keys."),
    "trust": ("gpuverify.cli.trust", "Say whose reports count, and in which role."),
    "challenge": ("gpuverify.cli.challenge", "Make a nonce that a fresh report has to answer."),
    "sign": ("gpuverify.cli.sign", "Sign evidence as a report, as what it is."),
    "verify": ("gpuverify.cli.verify", "Check signed reports and judge their evidence anew."),
    "show": ("gpuverify.cli.show", "Show a signed report as a certificate."),
    "compare": ("gpuverify.cli.compare", "Is it the same card, in the same state?"),
    "journal": ("gpuverify.cli.journal", "Read and check the intake journal."),
    "device-evidence": (
        "gpuverify.cli.device_evidence",
        "Show and verify what GPUs signed about themselves.",
    ),
    "rules": ("gpuverify.cli.rules", "List the rules."),
    "explain": ("gpuverify.cli.explain", "Say what a rule shows, and what it does not."),
    "products": ("gpuverify.cli.products", "List or search the products on file."),
    "refdb": ("gpuverify.cli.refdb", "Look into the reference data: show, diff, lint."),
}
"""Module and one-line help of each command; a test holds the helps against the commands."""

EPILOG = """Exit: 0 consistent with the sale claim, 1 suspect, 2 mismatch, 3 not enough evidence;
64 usage, 65 unreliable input, 66 missing input, 69 no device, 70 fault of ours, 73 cannot write,
77 refused, 130 interrupted."""


class LazyGroup(click.Group):
    """A group that knows the names and short helps of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        import importlib

        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            msg = f"{COMMANDS[cmd_name][0]}.command is not a command"
            raise TypeError(msg)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, value: object) -> None:
    """Answer `--version` where it stands among other words."""
    if not value or context.resilient_parsing:
        return
    from gpuverify import __version__

    sys.stdout.write(f"gpuverify {__version__}\n")
    context.exit(0)


GROUP = LazyGroup(
    name="gpuverify",
    help="Does what a GPU shows contradict what it was sold as?",
    epilog=EPILOG,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
"""The whole command line."""
