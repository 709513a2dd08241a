# SPDX-License-Identifier: Apache-2.0
"""Half an hour of everything at once: see tests/soak.

Exit status 0 only if nothing leaked, nobody was left behind and every packet was
accounted for. Needs root. ``tox run -e soak`` runs it.
"""

import argparse
import json
import random
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.frontend import vuser
from tests.soak.keeper import KEEPERS
from tests.soak.soak import soak, table
from tools.lab.stand import work_dir


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/soak.py", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="of what happens when (default: a new one)")
    parser.add_argument(
        "--keeper",
        choices=[keeper.name for keeper in KEEPERS],
        action="append",
        help="one daemon alone, or one with a standby (default: half the time each)",
    )
    parser.add_argument(
        "--worker-cores", metavar="CORES", help="poll with a worker on each, such as 0,1"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    # As Ctrl-C: everything that was started is ended in order.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    seed = random.randrange(2**32) if options.seed is None else options.seed
    chosen = [k for k in KEEPERS if not options.keeper or k.name in options.keeper]
    config = {"dpdk": {"worker_cores": options.worker_cores}} if options.worker_cores else {}
    vuser.build()
    outcomes = []
    for keeper in chosen:
        print(f"seed {seed}, keeper {keeper.name}", flush=True)
        with work_dir("vbs") as directory:
            seconds = 60 * options.minutes / len(chosen)
            outcome = soak(directory, keeper, seconds, seed, config)
            outcomes.append(outcome)
            print("\n".join(table(outcome)), flush=True)
            if not outcome.ok:
                break
    if options.json:
        shown = [outcome.to_json() for outcome in outcomes]
        options.json.write_text(json.dumps(shown, indent=2) + "\n")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
