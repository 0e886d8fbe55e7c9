"""`make chaos`: kill, cut and fill everything, and compare what arrived with what was published."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

import _pytest.outcomes

from tests.chaos.harness.run import run
from tests.chaos.harness.schedule import KINDS, MOST_KAFKA
from tests.chaos.harness.stage import needs
from tests.chaos.harness.story import Story
from tests.chaos.harness.verdict import Result


def main() -> int:
    """0 if nothing is lost or invented and all ledgers balance, 1 if not, 2 if it cannot run here."""
    asked = _arguments()
    try:
        needs()
    except (_pytest.outcomes.Skipped, _pytest.outcomes.Failed) as missing:
        print(missing.msg, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    story = Story(folder / "timeline.log", None if asked.json else sys.stdout)
    print(f"logs, truth and timeline are kept in {folder}", file=sys.stderr)
    story.tell(f"seed {asked.seed}, {asked.cycles} cycles of {asked.seconds:g} s")
    try:
        result = run(
            folder,
            story.tell,
            seed=asked.seed,
            cycles=asked.cycles,
            seconds=asked.seconds,
            kafka_members=asked.members,
            kinds=asked.only or KINDS,
            alone=asked.alone,
        )
    except BaseException as error:
        story.tell(f"the run broke off: {error!r}")
        raise
    finally:
        story.close()
    line = json.dumps(result.as_dict())
    (folder / "result.json").write_text(line + "\n")
    print(line if asked.json else _told(result))
    return 0 if result.good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--cycles", type=int, default=3, help="how many rounds of faults (default: 3)")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long a cycle lasts at least (default: 12)")
    parser.add_argument(
        "--seed", type=int, default=1, help="what chance begins with: the same faults at the same times"
    )
    parser.add_argument("--members", type=int, default=MOST_KAFKA, help="replicas in the Kafka group (default: 3)")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--alone", action="store_true", help="one fault a cycle, each kind in turn: to measure them")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the story")
    parser.add_argument("--folder", type=Path, help="where to keep logs and truth (default: a new one)")
    asked = parser.parse_args()
    if asked.cycles < 1 or asked.seconds <= 0 or asked.members < 1:
        parser.error("--cycles, --seconds and --members must be above zero")
    return asked


def _told(result: Result) -> str:
    """For people."""
    lines = [
        "",
        f"{result.published} messages were published: {result.inserted} are inserted, {result.dead_lettered} are dead",
        f"letters, {result.lost} are lost, {result.invented} were invented.",
        f"{result.kills} kills, {result.cuts} cuts, {sum(result.faults.values())} faults in all,",
        f"{result.seconds:.0f} s; everything had arrived {result.drained_seconds:.0f} s after the last one.",
        f"{result.duplicates_sent} samples were sent more than once, and {result.published_again} messages",
        "published again that Mosquitto may have forgotten.",
    ]
    if result.lost_and_reported:
        lines.append(
            f"{result.lost_and_reported} messages went with a damaged journal or a deleted topic, and were reported."
        )
    for kind, figures in result.resumed.items():
        twice = result.duplicates_after.get(kind)
        lines.append(
            f"  after {kind.replace('_', ' '):<18} {figures['times']:>3} times: data again within "
            f"{figures['median_s']:5.1f} s, at worst {figures['max_s']:5.1f} s"
            + ("" if twice is None else f"; {twice} samples sent again")
        )
    lines += [f"  left out: {kind}: {why}" for kind, why in result.left_out.items()]
    lines += [f"PROBLEM: {problem}" for problem in result.problems]
    lines.append("The ledgers balance." if result.balanced else "THE LEDGERS DO NOT BALANCE.")
    lines.append(
        f"Everything is accounted for (seed {result.seed})." if result.good else f"FAILED (seed {result.seed})."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
