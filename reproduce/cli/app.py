"""The command. Imports stay inside the subcommands: `list` and `--help` answer without torch."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from data.common.errors import ReproduceError
from reproduce.core import console

HELP = """\
reproduce ROW [KEY=VALUE ...]   train, evaluate and judge a row, e.g. `reproduce inspo/bridge/mix`
reproduce CLAIM                 run a claim, e.g. `reproduce claims/inspo/entropy_escapes`
reproduce GLOB launcher=NAME    one job per row: joblib, submitit_local, slurm, ray; --dry-run: what would run
reproduce queue FILE            long runs one after another at low priority; --jobs N, --status, --pause, --resume
reproduce plan GLOB             time, memory and disk on this machine, and the seeds that a verdict takes
reproduce list [PATTERN]        rows with the paper's value and the last recorded verdict
reproduce check ROW             the verdict from the recorded raw scores, no training
reproduce diff ROW [KEY=VALUE]  effective settings against the paper's, with each value's source
reproduce data list|show|build  datasets: what there is, a manifest, build one
reproduce data compare [GLOB]   statistics of built datasets beside the published ones of the official data
reproduce report                one HTML page and a markdown table of everything recorded
reproduce record PATTERN        move the reference of the regression gate (32 seeds; `losses`: the loss fingerprints)
reproduce gate [PATTERN]        has this commit hurt? 16 new seeds against the reference

A glob such as 'inspo/*' works wherever a row does. --json prints one JSON document on stdout and nothing else.
Exit codes: 0 REPRODUCED, 1 BELOW or ABOVE, 2 INCONCLUSIVE, 3 NOT COMPARABLE, 4 error.
"""


class Parser(argparse.ArgumentParser):
    """argparse exits with 2 on bad usage; here 2 means INCONCLUSIVE."""

    def error(self, message: str) -> NoReturn:
        raise ReproduceError(f"{message}. `reproduce --help` shows the usage.")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    console.set_quiet("--json" in argv)
    command, rest = (COMMANDS[argv[0]], argv[1:]) if argv[0] in COMMANDS else (run, argv)
    try:
        return command(rest)
    except ReproduceError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("reproduce: stopped; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"reproduce: {error}. Mend it and repeat the command: nothing half-written is read.", file=sys.stderr)
        return ReproduceError.exit_code


def parser(name: str, *positionals: tuple[str, str], json_too: bool = True) -> Parser:
    made = Parser(prog=f"reproduce {name}".strip(), description=HELP, formatter_class=argparse.RawTextHelpFormatter)
    for positional, count in positionals:
        made.add_argument(positional, nargs=count or None)
    if json_too:
        made.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    return made


def run(argv: list[str]) -> int:
    """Rows and claims."""
    made = parser("", ("target", ""), ("overrides", "*"))
    made.add_argument("--dry-run", action="store_true", help="what would run, how long and how large; launches nothing")
    args = made.parse_intermixed_args(argv)
    from reproduce.config import claim_ids, expand, row_ids

    runnable = row_ids()
    names = _targets(args.target, runnable, claim_ids(), expand)
    launcher = None
    if any(override.startswith("launcher") for override in args.overrides):
        from reproduce.jobs.sweep import launcher_from, run_sweep, split

        args.overrides, knobs = split(args.overrides)
        launcher = launcher_from(knobs)
    if args.dry_run:
        from reproduce.cost.plan import dry_run

        return dry_run(names, args.overrides, launcher, args.json)
    if launcher is not None:

        def report(document: dict[str, Any]) -> None:
            if "error" in document and len(names) > 1:
                print(f"reproduce: {document['row']}: {document['error']}", file=sys.stderr)
            if not args.json and len(names) > 1:
                print(_line(document), flush=True)

        documents = run_sweep(names, args.overrides, launcher, report)
        if len(names) == 1 and "error" in documents[0]:
            raise ReproduceError(documents[0]["error"])
    elif len(names) == 1:
        documents = [run_one(names[0], args.overrides)]
    else:
        documents = []
        for name in names:
            try:
                documents.append(run_one(name, args.overrides))
            except ReproduceError as error:  # the other rows still run
                print(f"reproduce: {name}: {error}", file=sys.stderr)
                documents.append({"row": name, "error": str(error), "exit_code": error.exit_code})
            if not args.json:
                print(_line(documents[-1]), flush=True)
    if args.json:
        print(json.dumps(documents[0] if len(names) == 1 else {"rows": documents}, indent=1))
    elif len(names) == 1:
        print(_line(documents[0]))
    else:
        _print_table(documents)
    return max(document["exit_code"] for document in documents)


def _targets(target: str, rows: list[str], claims: list[str], expand: Callable) -> list[str]:
    try:
        return expand(target, rows + claims)
    except ReproduceError as error:
        from reproduce import published

        try:
            planned = published.match(target)
        except ReproduceError:
            raise error from None
        raise ReproduceError(
            f"{planned[0]} is a published number that has no config yet (`reproduce list` marks such rows); "
            "adding configs/rows/<row>.yaml makes it run."
        ) from None


def run_one(name: str, overrides: list[str]) -> dict[str, Any]:
    """Run a row or claim here; the document that --json prints."""
    if name.startswith("claims/"):
        if overrides:
            raise ReproduceError(f"{name} takes no overrides: its settings are the claim.")
        from reproduce.claims import run_claim

        record = run_claim(name)
        keys = ("row", "checks", "passed", "time", "file")
        return {key: record.get(key) for key in keys} | {"exit_code": 0 if record["passed"] else 1}
    from reproduce.config import compose

    settings = compose(name, overrides)
    from reproduce.experiment.run import run_row

    record = run_row(settings)
    return _document(record)


def _document(record: dict[str, Any]) -> dict[str, Any]:
    """The verdict of a row as --json prints it."""
    keys = (
        "row",
        "verdict",
        "scores",
        "behavior_cloning",
        "data",
        "seeds",
        "overrides",
        "time",
        "weights_sha256",
        "file",
        "notes",
    )
    return {key: record.get(key) for key in keys} | {"exit_code": record["verdict"]["exit_code"]}


def _line(document: dict[str, Any]) -> str:
    """One console line for a row or claim."""
    if "error" in document:
        return f"{document['row']}  ERROR"
    took = f"{document['time']['wall_s']:.0f} s"
    if "verdict" not in document:
        checks = "; ".join(f"{'holds' if c['passed'] else 'FAILS'}: {c['text']}" for c in document["checks"])
        return f"{document['row']}  {'HOLDS' if document['passed'] else 'FAILS'}  {checks}  {took}"
    v = document["verdict"]
    parts = [document["row"], v["headline"]]
    if v["mean"] is not None:
        parts.append(f"ours {v['mean']:.5g} +- {v['std'] or 0:.2g} (n={v['n']})")
    if v["low"] is not None:
        margin = "unknown" if v["delta"] is None else f"{v['delta']:g}"
        parts.append(f"theirs {v['theirs']:.6g}, difference in {_interval(v)}, margin {margin}")
    if v["state"] == "NOT COMPARABLE" or v["within_reported_std"] is not None:
        clones = document["behavior_cloning"]
        parts.append(f"data {document['scores'].get('data', document['data']['return']['mean']):.5g}")
        parts += [f"behavior cloning {sum(clones) / len(clones):.5g}"] if clones else []
    parts.append(took)
    more = [*v["reasons"], *(document.get("notes") or [])]
    return "  ".join(parts) + "".join(f"\n    {text}" for text in more)


def _interval(verdict: dict[str, Any]) -> str:
    low, high = (round(verdict[end], 9) + 0.0 for end in ("low", "high"))  # rounding noise is not a difference
    return f"[{low:.4g}, {high:.4g}]"


def _print_table(documents: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "verdict", "ours", "theirs", "difference in", "margin", "seconds", title="reproduce")
    for d in documents:
        if "error" in d:
            table.add_row(d["row"], "ERROR")
        elif "verdict" not in d:
            table.add_row(d["row"], "HOLDS" if d["passed"] else "FAILS", "", "", "", "", f"{d['time']['wall_s']:.0f}")
        else:
            v = d["verdict"]
            ours = "" if v["mean"] is None else f"{v['mean']:.5g} ± {v['std'] or 0:.2g} (n={v['n']})"
            between = "" if v["low"] is None else _interval(v)
            theirs = "unknown" if v["theirs"] is None else f"{v['theirs']:.6g}"
            margin = "" if v["delta"] is None else f"{v['delta']:g}"
            table.add_row(d["row"], v["headline"], ours, theirs, between, margin, f"{d['time']['wall_s']:.0f}")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def list_rows(argv: list[str]) -> int:
    """The whole mission: published rows, whether they can run, and what was last recorded."""
    args = parser("list", ("pattern", "?")).parse_args(argv)
    from reproduce import published, records
    from reproduce.config import claim_ids, row_ids

    runnable, pattern = set(row_ids()), args.pattern or "*"
    from fnmatch import fnmatchcase

    claims = [name for name in claim_ids() if fnmatchcase(name, pattern)]
    names = [] if claims and pattern.startswith("claims") else published.match(pattern)
    found = records.read()
    last = {record["row"]: record for record in found if record["kind"] == "claim"}
    stand: dict[str, list[dict[str, Any]]] = {}
    for record in records.standing(found):
        stand.setdefault(record["row"], []).append(record)
    own = [record for record in found if record["kind"] in ("row", "claim") and records.of_own_algorithm(record)]
    complete = {record["row"] for record in own if not record.get("differs")}  # with their own settings, at least once
    entries = []
    for name in names:
        row, recorded = published.row(name), _verdicts(stand.get(name, []))
        facts = {"row": name, "metric": row.metric, "paper": row.printed, "can_run": name in runnable}
        entries.append(facts | {"verdict": recorded, "full_budget": name in complete})
    for name in claims:
        recorded = ("HOLDS" if last[name]["passed"] else "FAILS") if name in last else None
        facts = {"row": name, "metric": "claim", "paper": "", "can_run": True}
        entries.append(facts | {"verdict": recorded, "full_budget": name in complete})
    if args.json:
        print(json.dumps(entries, indent=1))
        return 0
    width = max(len(entry["row"]) for entry in entries)
    print(f"{'row':{width}}  {'paper':>18}  last verdict")
    for entry in entries:
        state = entry["verdict"] or ("not run" if entry["can_run"] else "cannot run yet: no config")
        if entry["verdict"] and not entry["full_budget"]:
            state += ", never run at full budget"
        print(f"{entry['row']:{width}}  {entry['paper']:>18}  {state}")
    return 0


def _verdicts(stand: list[dict[str, Any]]) -> str | None:
    """Headlines, with the dataset where there are several."""
    if len(stand) < 2:
        return stand[0]["verdict"]["headline"] if stand else None
    return "; ".join(f"{record['verdict']['headline']} on {record['data']['id']}" for record in stand)


def check(argv: list[str]) -> int:
    """Judge again what is recorded, with the bounds of today."""
    args = parser("check", ("pattern", "")).parse_args(argv)
    from reproduce import published, records
    from reproduce.experiment.scoring import recorded_cloning
    from reproduce.judge import judge

    documents = []
    names = published.match(args.pattern)
    stand = [record for record in records.standing(records.read()) if record["row"] in names]
    if len(names) == 1 and not stand:
        raise ReproduceError(f"nothing is recorded for {names[0]}; `reproduce {names[0]}` runs it.")
    for record in sorted(stand, key=lambda record: names.index(record["row"])):
        name = record["row"]
        old = record["verdict"]
        reasons = old["reasons"] if old["state"] == "NOT COMPARABLE" else []
        curve = record["curve"].get(record["scores"]["mode"]) or []
        early = curve[0] if record["config"]["algo"]["name"] == "inspo" and curve else None  # before its clones moved
        clones = record.get("behavior_cloning") or recorded_cloning(  # which may have run later
            name, record["config"]["algo"], record["data"], record["seeds"]
        )
        verdict = judge(
            record["scores"]["per_seed"],
            published.row(name).bound,
            not_comparable=reasons,
            data_kind=record["data"]["kind"],
            behavior_cloning=clones or early,
        )
        documents.append(_document({**record, "verdict": verdict.to_json(), "behavior_cloning": clones}))
    if not documents:
        raise ReproduceError(f"nothing is recorded for {args.pattern}; `reproduce list` shows what can run.")
    if args.json:
        print(json.dumps(documents[0] if len(documents) == 1 else {"rows": documents}, indent=1))
    for document in [] if args.json else documents:
        print(_line(document))
    return max(document["exit_code"] for document in documents)


def diff(argv: list[str]) -> int:
    """Every setting: the paper's value, the row's, the one used, and where the row's comes from."""
    args = parser("diff", ("pattern", ""), ("overrides", "*")).parse_intermixed_args(argv)
    from reproduce import published
    from reproduce.config import NOT_PART_OF_FINGERPRINT, compose, expand, flat, row_ids, sources

    tables = {}
    for name in expand(args.pattern, row_ids()):
        settings, stated = compose(name, args.overrides), published.row(name).settings
        origin = sources(name, args.overrides)
        used, rows = flat(settings.values), flat(settings.row_values)
        tables[name] = [
            {
                "key": key,
                "paper": stated.get(key, "unknown"),
                "row": rows.get(key),
                "used": used.get(key),
                "source": origin.get(key, "not stated"),
            }
            for key in rows | used
            if key != "row" and not key.startswith(NOT_PART_OF_FINGERPRINT)
        ]
    if args.json:
        print(json.dumps(tables, indent=1))
        return 0
    for name, entries in tables.items():
        print(f"{name}\n  {'setting':32} {'paper':>9} {'row':>18} {'used':>18}  source")
        for e in entries:
            mark = "*" if e["used"] != e["row"] else " "
            print(f"{mark} {e['key']:32} {e['paper']!s:>9} {e['row']!s:>18} {e['used']!s:>18}  {e['source']}")
    return 0


def plan(argv: list[str]) -> int:
    """What rows will cost here."""
    args = parser("plan", ("pattern", ""), ("overrides", "*")).parse_intermixed_args(argv)
    from reproduce.config import compose, expand, row_ids

    rows = [compose(name, args.overrides) for name in expand(args.pattern, row_ids())]
    from reproduce.cost.plan import plan

    return plan(rows, args.json)


def queue(argv: list[str]) -> int:
    """Long runs."""
    made = parser("queue", ("file", ""))
    made.add_argument("--jobs", type=int, default=1, help="rows at a time, one thread each (default 1)")
    made.add_argument("--nice", type=int, default=19, help="0: like any process .. 19: what others leave (default)")
    does = made.add_mutually_exclusive_group()
    does.add_argument("--status", action="store_true", help="a line per row: update, updates/s, hours left, verdict")
    does.add_argument("--pause", action="store_true", help="stop the queue and its rows where they are")
    does.add_argument("--resume", action="store_true", help="let them go on")
    args = made.parse_args(argv)
    import signal
    from pathlib import Path

    from reproduce.jobs.queue import ask, run_queue, send

    path = Path(args.file)
    if args.status:
        return ask(path, args.json)
    if args.pause or args.resume:
        return send(path, signal.SIGSTOP if args.pause else signal.SIGCONT)
    return run_queue(path, args.jobs, args.nice)


def data(argv: list[str]) -> int:
    """Datasets."""
    args = parser("data", ("action", ""), ("pattern", "?"), json_too=True)
    args.add_argument("--force", action="store_true", help="build again although it is there")
    args.add_argument("--root", help="show the authors' files under this folder instead of the regenerated data")
    args.add_argument("--seed", type=int, help="with --root: another dataset seed than the one that rows read")
    options = args.parse_args(argv)
    from fnmatch import fnmatchcase

    from data.catalog import registry

    known = registry.datasets()
    if options.action == "list":
        entries = {name: entry["description"] for name, entry in known.items()}
        print(json.dumps(entries, indent=1) if options.json else "\n".join(f"{k:24} {v}" for k, v in entries.items()))
        return 0
    if options.action not in ("show", "build", "compare"):
        raise ReproduceError(f"data {options.action}: choose list, show, build or compare.")
    if options.action == "compare":
        return _compare(options.pattern or "*", options.json)
    if options.pattern is None:
        raise ReproduceError(f"data {options.action} needs a dataset or glob, e.g. bridge/mix.")
    from data.catalog import store
    from reproduce.experiment.scoring import cloning_returns, data_facts

    manifests = {}
    names = [n for n in known if fnmatchcase(n, options.pattern)] or [options.pattern]  # an unknown one fails below
    for name in names:
        with console.bar(f"data {name}", 1, "steps") as bar:
            if options.action == "build":
                store.build(name, force=options.force, progress=bar.update)
            kind = "official" if options.root else "regenerated"
            manifest = store.get(name, kind, options.root, bar.update, options.seed).manifest
        manifests[name] = manifest | {"cloning": cloning_returns(data_facts(manifest))}
    if options.action == "show" or options.json:
        print(json.dumps(manifests if len(manifests) > 1 else next(iter(manifests.values())), indent=1))
    else:
        for name, manifest in manifests.items():
            print(f"{name}  {manifest['statistics']['n_transitions']} transitions  sha256 {manifest['sha256'][:12]}")
    return 0


def _compare(pattern: str, as_json: bool) -> int:
    """Datasets whose official statistics somebody published, ours beside them; what is not built says so. With what
    cloning earns on either, where it is known."""
    from fnmatch import fnmatchcase

    from data.catalog import registry, store
    from reproduce.experiment.scoring import cloning_returns, data_facts

    known = {k: v for k, v in registry.datasets().items() if "published" in v and fnmatchcase(k, pattern)}
    if not known:
        raise ReproduceError(f"no dataset named {pattern!r} has published statistics; `reproduce data list` shows all.")
    compared = {}
    for name, entry in known.items():
        theirs, ours = entry["published"] | {"cloning": entry.get("published_cloning")}, None
        if (store.folder_of(name) / store.MANIFEST).exists():
            manifest = json.loads((store.folder_of(name) / store.MANIFEST).read_text(encoding="utf-8"))
            statistics = manifest["statistics"]
            ours = {key: statistics["return"][key] for key in ("mean", "std", "min", "max")}
            ours |= {key: statistics[key] for key in ("n_rows", "n_episodes")}
            ours |= {"cloning": cloning_returns(data_facts(manifest))}
        compared[name] = {"official": theirs, "ours": ours}
    if as_json:
        print(json.dumps(compared, indent=1))
        return 0

    def cell(s: dict[str, Any] | None) -> str:
        if s is None:
            return "not built"
        extremes = f" [{s['min']:.0f}, {s['max']:.0f}]" if "min" in s else ""  # not published everywhere
        returns = f"{s['mean']:.0f} ± {s['std']:.0f}{extremes}"
        text = f"{returns}, {s['n_episodes']} episodes, {s['n_rows'] / 1e6:.2f}M rows"
        if clone := s["cloning"]:
            text += f"; cloning {clone['mean']:.0f} ± {clone['std'] or 0:.0f}"
            text += f" ({clone['n_updates']:,} updates)" if "n_updates" in clone else ""
        return text

    print("| dataset | official: return mean ± std [min, max] | regenerated here |\n|---|---|---|")
    for name, pair in compared.items():
        print(f"| {name} | {cell(pair['official'])} | {cell(pair['ours'])} |")
    return 0


def report(argv: list[str]) -> int:
    """The page."""
    args = parser("report", ("pattern", "?"), json_too=False)
    args.add_argument("--out", help="folder (default: outputs/report)")
    options = args.parse_args(argv)
    from pathlib import Path

    from data.common.paths import outputs_dir
    from reproduce.report import write_report

    for path in write_report(Path(options.out or outputs_dir() / "report"), options.pattern or "*"):
        print(path)
    return 0


def record(argv: list[str]) -> int:
    """Move the reference."""
    args = parser("record", ("pattern", ""), json_too=False).parse_args(argv)
    from reproduce.regression.gate import record_references

    return record_references(args.pattern)


def gate(argv: list[str]) -> int:
    """Compare with the reference."""
    args = parser("gate", ("pattern", "?")).parse_args(argv)
    from reproduce.regression.gate import run_gate

    return run_gate(args.pattern or "*", args.json)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "list": list_rows,
    "check": check,
    "diff": diff,
    "plan": plan,
    "queue": queue,
    "data": data,
    "report": report,
    "record": record,
    "gate": gate,
}
