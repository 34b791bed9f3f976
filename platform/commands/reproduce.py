"""`deepblur reproduce RUN_ID`; see `deepblur.platform.reproduce.reproduce`."""

import argparse
from pathlib import Path

HELP = "make a recorded run again, from its MLflow record alone"


def configure(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Make a recorded run again and compare metrics and weights to the last bit. Ends with 0 if it was reproduced, "
        "with 1 if something differs, with 2 if an ingredient is missing."
    )
    add = command.add_argument
    add("run_id", metavar="RUN_ID", help="MLflow's id of a study's run, or of its child runs")
    add("--tracking-uri", help="where the run is recorded (default: $MLFLOW_TRACKING_URI or the database in the runs "
        "folder); it is only read")  # fmt: skip
    add("--runs", type=Path, help="new folder for the results, shared by all nodes (default: a temporary one)")
    add("--data", metavar="SOURCE", help="where the recorded images lie now, such as folder:ROOT")
    add("--test", metavar="SOURCE", help="the same of the test images")
    add("--local", action="store_true", help="without Ray where the run had one worker, which gives the same bits")
    add("--check", action="store_true", help="compare the ingredients and run nothing")
    add("--source", type=Path, metavar="FOLDER", help="your own copy of the deepblur that recorded the run, such as a "
        "checkout of its commit: it is run, and none of the record's")  # fmt: skip
    add("--trust", action="store_true", help="run what the record brings along if it is not the installed deepblur: "
        "whoever can write to the record may have put it there")  # fmt: skip
    add("--anyway", action="store_true", help="run even if an ingredient differs")
    add("--json", action="store_true", help="the findings as JSON; everything else goes to standard error")


def run(arguments: argparse.Namespace) -> int:
    import json
    import signal
    import sys
    from dataclasses import asdict

    from deepblur.platform.reproduce.reproduce import MISSING, Conditions, reproduce

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = sys.stderr if arguments.json else sys.stdout
    conditions = Conditions(
        tracking_uri=arguments.tracking_uri,
        runs=arguments.runs,
        data=arguments.data,
        test=arguments.test,
        local=arguments.local,
        check=arguments.check,
        source=arguments.source,
        trust=arguments.trust,
        anyway=arguments.anyway,
    )
    try:
        found = reproduce(arguments.run_id, conditions, out=out)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    if arguments.json:
        print(json.dumps(asdict(found), indent=1))
    print(found.verdict, file=sys.stderr if found.exit_code == MISSING else out)
    return found.exit_code
