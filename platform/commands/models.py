"""`deepblur models`: the registered versions, what is known of each, and which one is champion."""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deepblur.platform.system.errors import OK, USAGE, ModelError
from deepblur.platform.system.printable import printable, say

if TYPE_CHECKING:
    from deepblur.platform.registry.gate import Decision
    from deepblur.platform.registry.promotion import Outcome, Promoter
    from deepblur.platform.registry.versions import Version

HELP = "the registered models: list, show, compare, register, promote, rollback"
REFUSED = 1
"""Exit code: the gate said no."""
ABOUT = """Every trained network that a study registers becomes a numbered version of the model 'deepblur'. One of them
is the champion: 'deepblur restore' takes it, and so does everyone who loads models:/deepblur@champion.

A version becomes champion only through the gate. On one fixed grid of blurred photographs, the same for all versions,
it must restore better than the present champion, by a paired difference whose 95 % interval lies above zero; the first
champion must do so against doing nothing. It must not take much longer, and it must give the same result in a clean
process. What is refused becomes challenger, and the reason is written to the registry."""
ENDS = """exit code:
  0 done   1 the gate said no   2 options that make no sense   5 the registry or a model cannot be used

The registry is the one of --tracking-uri, else of $MLFLOW_TRACKING_URI, else mlflow.db in $DEEPBLUR_RUNS, in ./runs,
where 'make demo' leaves it, or in ~/deepblur-runs.

examples:
  deepblur models list
  deepblur models show champion
  deepblur models register compact # the model that ships with deepblur, or a folder
  deepblur models promote 3        # through the gate: about a minute for the compact networks of the demo
  deepblur models compare 3 champion
  deepblur models rollback         # the champion was a mistake: the one before it, again and again"""


def configure(command: argparse.ArgumentParser) -> None:
    command.description, command.epilog = ABOUT, ENDS
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    help_of = {
        "list": "the versions with their aliases, origin and gate",
        "show": "one version: card, evaluation, lineage, decision",
        "compare": "two versions on the gate's grid, without any consequence",
        "register": "make a version of a model folder, of what ships with deepblur (compact) or of another version",
        "promote": "send a version through the gate: champion, or challenger with the reason",
        "rollback": "make the champion before this one champion again; give it twice to go two back",
    }
    for name, text in help_of.items():
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add = action.add_argument
        if name in ("show", "promote", "compare"):
            add("version", metavar="VERSION", help="a number, an alias such as champion, or models:/NAME/3")
        if name == "register":
            add("model", metavar="MODEL", help="a folder with model.json, compact, or models:/NAME/3, which then gets "
                "the code of this deepblur")  # fmt: skip
        if name == "promote":
            add("--trust", action="store_true", help="run the version's code in the clean process though it is not "
                "this deepblur's: whoever can write to the registry or its files may have put it there")  # fmt: skip
        if name == "compare":
            add("other", metavar="OTHER", nargs="?", default="champion", help="its rival (default: champion)")
        add("--name", default="deepblur", help="of the registered model (default: deepblur)")
        add("--tracking-uri", help="MLflow server or database that holds the registry (default: see 'deepblur models "
            "--help')")  # fmt: skip
        add("--json", action="store_true", help="the result as JSON; remarks go to standard error")


def run(arguments: argparse.Namespace) -> int:
    from deepblur.platform.system.disk import denied
    from deepblur.platform.tracking.connection import failing_plainly, registry_uri

    if not re.fullmatch(r"\w[\w .+-]{0,99}", arguments.name):
        allowed = "letters, digits and . + - _ or blanks"
        print(f"error: a registered model is called by {allowed}; got --name {arguments.name!r}", file=sys.stderr)
        return USAGE
    arguments.tracking_uri = arguments.tracking_uri or registry_uri()
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "compare": _compare,
        "register": _register,
        "promote": _promote,
        "rollback": _rollback,
    }
    try:
        with failing_plainly(arguments.tracking_uri):
            return actions[arguments.action](arguments)
    except (ModelError, ConnectionError) as error:
        say(f"error: {error}", sys.stderr)
        return ModelError.exit_code
    except OSError as error:
        say(f"error: {denied(error)}", sys.stderr)
        return ModelError.exit_code
    except KeyboardInterrupt:
        print("stopped; nothing was promoted, unless 'deepblur models list' says so", file=sys.stderr)
        return 130


def _list(arguments: argparse.Namespace) -> int:
    from deepblur.platform.registry.champion import ChampionAlias
    from deepblur.platform.registry.versions import history, open_registry, versions

    client = open_registry(arguments.tracking_uri, arguments.name)
    for sentence in ChampionAlias(client, arguments.name, arguments.tracking_uri).settle():
        say(sentence, sys.stderr)
    found = versions(client, arguments.name)
    if arguments.json:
        reigns = history(client, arguments.name, arguments.tracking_uri)
        _print_json({"name": arguments.name, "versions": [v.as_json() for v in found], "champions": reigns})
        return OK
    rows: list[tuple[str, ...]] = [
        ("version", "alias", "study, arm, seed", "gate", "PSNR gain over the blurry input", "registered")
    ]
    rows += [_row(version) for version in found]
    _print_table(rows)
    if not any("champion" in version.aliases for version in found):
        print(f"\nno version is champion; deepblur models promote {found[0].version if found else 'VERSION'}")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    from deepblur.platform.registry.choice import choose_model
    from deepblur.platform.registry.versions import history, number_of, open_registry, versions

    client = open_registry(arguments.tracking_uri, arguments.name)
    number = number_of(client, arguments.name, arguments.version)
    version = next(v for v in versions(client, arguments.name) if v.version == number)
    card = choose_model(f"models:/{arguments.name}/{number}", tracking_uri=arguments.tracking_uri).model.card
    reigns = [reign for reign in history(client, arguments.name, arguments.tracking_uri) if reign["version"] == number]
    if arguments.json:
        _print_json({**version.as_json(), "card": card, "reigns": reigns})
        return OK
    from deepblur.platform.models.card import render

    title = f"{arguments.name}, version {number}" + "".join(f", {alias}" for alias in version.aliases)
    print(printable(render(card, title), keep="\n"))
    at, decision, reason, grid = (version.tags.get(f"gate.{n}", "?") for n in ("at", "decision", "reason", "grid"))
    if any(name.startswith("gate.") for name in version.tags):
        print("## Gate\n")
        say(f"{at}, {decision}: {reason}. On {grid}.")
        print()
    for reign in reigns:
        say(f"Champion since {reign['at']} ({reign['how']}).")
    if version.run:
        say(f"Registered {version.created} UTC by run {version.run}, which keeps the evaluation under gate/.")
    return OK


def _compare(arguments: argparse.Namespace) -> int:
    from deepblur.platform.registry.versions import number_of

    promoter = _promoter(arguments)
    pair = [number_of(promoter.client, arguments.name, spoken) for spoken in (arguments.version, arguments.other)]
    if pair[0] == pair[1]:
        print(f"error: both are version {pair[0]}; compare two versions", file=sys.stderr)
        return 2
    _announce(promoter)
    decision = promoter.compare(*pair)
    if arguments.json:
        _print_json(decision.as_json())
    else:
        _print_decision(decision)
    return OK


def _register(arguments: argparse.Namespace) -> int:
    from deepblur.platform.registry.register_folder import register_folder

    version = register_folder(arguments.model, arguments.tracking_uri, arguments.name)
    if arguments.json:
        _print_json({"name": arguments.name, "version": version})
    else:
        say(f"{arguments.model} is version {version} of {arguments.name}; deepblur models promote {version}")
    return OK


def _promote(arguments: argparse.Namespace) -> int:
    from deepblur.platform.registry.versions import number_of

    promoter = _promoter(arguments)
    number = number_of(promoter.client, arguments.name, arguments.version)
    _announce(promoter)
    return _ended(promoter.promote(number), arguments)


def _rollback(arguments: argparse.Namespace) -> int:
    return _ended(_promoter(arguments).rollback(), arguments)


def _ended(outcome: "Outcome", arguments: argparse.Namespace) -> int:
    if arguments.json:
        decision = None if outcome.decision is None else outcome.decision.as_json()
        _print_json({**vars(outcome), "decision": decision})
    else:
        if outcome.decision is not None:
            _print_decision(outcome.decision)
        for sentence in outcome.sentences:
            say(sentence)
    return OK if outcome.promoted else REFUSED


def _promoter(arguments: argparse.Namespace) -> "Promoter":
    from deepblur.platform.registry.promotion import Promoter

    return Promoter(arguments.tracking_uri, arguments.name, trust=getattr(arguments, "trust", False))


def _announce(promoter: "Promoter") -> None:
    print(f"measuring on {promoter.grid.name}; about a minute for compact networks", file=sys.stderr, flush=True)


def _print_decision(decision: "Decision") -> None:
    for check in decision.checks:
        say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.sentence}")
    if len(decision.cells):
        print(f"\nPSNR in dB on {decision.grid}, means of the photographs; difference from {decision.rival}:\n")
        rows: list[tuple[str, ...]] = [
            ("blur", "noise", "eta", "gain over blurry", "difference", "95 % interval", "PSF SNR")
        ]
        rows += [
            (c["family"], c["noise"], f"{c['eta_waves']:.2f}", f"{c['gain_db']:+.2f}", f"{c['difference_db']:+.2f}",
             f"{c['low_db']:+.2f} to {c['high_db']:+.2f}", f"{c['psf_snr_db']:.1f}")
            for c in decision.cells.to_dict("records")
        ]  # fmt: skip
        _print_table(rows)
        print()


def _row(version: "Version") -> tuple[str, ...]:
    from deepblur.platform.registry.versions import number

    tags = version.tags
    origin = ", ".join(tags[name] for name in ("study", "arm", "seed") if name in tags)
    gains = [number(tags, f"gate.{n}") for n in ("gain_db", "gain_low_db", "gain_high_db")]
    gain = "{:+.2f} dB ({:+.2f} to {:+.2f})".format(*gains) if not any(map(math.isnan, gains)) else ""
    aliases = ", ".join(version.aliases)
    return version.version, aliases, origin, tags.get("gate.decision", "not tried"), gain, version.created


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from deepblur.platform.report.table import aligned

    for line in aligned(rows):
        say(line)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
