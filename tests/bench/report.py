"""The table that people read and the JSON that programs do; both say the same."""

import dataclasses
from collections.abc import Sequence

from tests.bench import machine
from tests.bench.plan import Plan
from tests.bench.rows import Row, short

FORMAT = 1
_PAGE_BEGIN = "<!-- results: written by `python -m tests.bench --page` -->\n```text\n"
_PAGE_END = "\n```\n"
_GAP = "  "


def text(rows: Sequence[Row], described: dict[str, object], versions: dict[str, str], plan: Plan) -> str:
    """Return the whole report for a terminal."""
    parts = [
        machine.line(described),
        "versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{plan.peers} peers in one process on loopback, values of {plan.value_bytes} bytes, seed {plan.seed}; "
        f"the first number is the middle of the runs, in brackets the least and the greatest",
    ]
    for row in rows:
        parts += ["", *_table(row)]
    missed = [(row, goal, line) for row in rows for line in row.lines for goal in line.goals if not goal.met]
    goals = [goal for row in rows for line in row.lines for goal in line.goals]
    if goals:
        parts += ["", f"goals: {len(goals) - len(missed)} of {len(goals)} met"]
        parts += [f"  missed: {row.name}, {line.subject}: {goal.text}" for row, goal, line in missed]
    return "\n".join(parts)


def _table(row: Row) -> list[str]:
    if not row.lines and not row.absent:
        return []
    columns = list(dict.fromkeys(name for line in row.lines for name in line.others))
    against = next((line.against for line in row.lines if line.against), None)
    head = ["", row.main, "(runs)", *columns, f"/ {against}" if against else ""]
    body = []
    for line in row.lines:
        reach = f"({short(line.main.low)} to {short(line.main.high)})" if line.runs > 1 else ""
        others = [short(line.others[name]) if name in line.others else "" for name in columns]
        ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
        body.append([line.subject, short(line.main.middle), reach, *others, ratio])
    widths = [max(len(cells[column]) for cells in [head, *body]) for column in range(len(head))]
    lines = [row.title]
    for cells in [head, *body]:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        lines.append(f"  {_GAP.join(padded)}".rstrip())
    lines += [f"  {line.subject}: {goal.text}" for line in row.lines for goal in line.goals]
    lines += [f"  {name}: not measured: {reason}" for name, reason in row.absent.items()]
    return lines


def on_page(page: str, report: str) -> str:
    """Return a page of the docs with the block of results replaced.

    Raises ValueError where the page has no such block.
    """
    before, begin, rest = page.partition(_PAGE_BEGIN)
    _, end, after = rest.partition(_PAGE_END)
    if not begin or not end:
        raise ValueError("the page has no block of results")
    return before + begin + report + end + after


def as_json(
    rows: Sequence[Row], described: dict[str, object], versions: dict[str, str], plan: Plan
) -> dict[str, object]:
    """Return the report as one JSON object; `format` grows when a field changes its meaning."""
    return {
        "format": FORMAT,
        "machine": described,
        "versions": versions,
        "plan": dataclasses.asdict(plan),
        "rows": [
            {
                "row": row.name,
                "title": row.title,
                "number": row.main,
                "lines": [
                    {
                        "subject": line.subject,
                        "value": line.main.middle,
                        "low": line.main.low,
                        "high": line.main.high,
                        "unit": line.unit,
                        "runs": line.runs,
                        "others": line.others,
                        "against": line.against,
                        "ratio": line.ratio,
                        "goals": [dataclasses.asdict(goal) | {"met": goal.met} for goal in line.goals],
                    }
                    for line in row.lines
                ],
                "absent": row.absent,
            }
            for row in rows
        ],
    }
