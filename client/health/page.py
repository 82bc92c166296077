"""`health.html` and `health.json`: the result of the checks for a person at the store.

Both stay at the store.
"""

import contextlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedshelf.client.health import FACTS_FILE, PAGE_FILE
from fedshelf.client.health.checks.machine import format_bytes
from fedshelf.client.health.checks.server import days_left
from fedshelf.client.health.evidence.finding import SEVERITIES, Exhibit, Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.run_checks import Report
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.picture import data_uri, thumbnail
from fedshelf.common.system.files import write_json, write_private
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

_MAX_PICTURES_PER_FINDING = 12  # photos of one finding
_MAX_PICTURES = 120  # photos on the page: at 4 KB each it stays under a megabyte
_MAX_NAMES_PER_FINDING = 200  # files of one finding that are listed; health.json has all
_THUMBNAIL_PIXELS = 160  # pixels of a thumbnail's longer side


def write_page(report: Report, directory: Path) -> Path:
    """Write both files into `directory` and return the page's path. Raises OSError."""
    write_json(directory / FACTS_FILE, facts(report))
    page = directory / PAGE_FILE
    write_private(page, render(report))
    return page


def facts(report: Report) -> dict[str, Any]:
    """Return all findings and facts as plain values."""
    photos = report.evidence.photos
    probe = report.evidence.probe
    return {
        "store": report.store,
        "made": report.made.isoformat(timespec="seconds"),
        "can_take_part": all(finding.severity != "problem" for finding in report.findings),
        "photos": len(photos.usable),
        "boxes": _boxes(report.evidence),
        "classes": {row["name"]: row["parts"] for row in _classes(report.evidence)},
        "findings": [_plain(finding) for finding in report.findings],
        "checked": report.passed,
        "machine": dict(_machine(report.evidence)),
        "clock_skew_seconds": None if probe is None or probe.skew is None else round(probe.skew, 1),
    }


def render(report: Report) -> str:
    """Render the page as text. Names come from a disk and are escaped everywhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "counted": format_count}
    findings = report.findings
    pictures = _Pictures()
    shown = {
        severity: [
            _shown(finding, pictures) for finding in findings if finding.severity == severity
        ]
        for severity in SEVERITIES
    }
    return environment.get_template("page.html.j2").render(
        store=report.store,
        made=report.made,
        photos=len(report.evidence.photos.usable),
        boxes=_boxes(report.evidence),
        machine_name=_trains_on(report.evidence),
        problems=shown["problem"],
        warnings=shown["warning"],
        notes=shown["note"],
        fine=report.passed,
        classes=_classes(report.evidence),
        machine=_machine(report.evidence),
    )


class _Pictures:
    """Thumbnails as data URLs, up to a number for the whole page."""

    def __init__(self) -> None:
        self._left = _MAX_PICTURES

    def of(self, exhibit: Exhibit) -> str | None:
        """Return the thumbnail of an exhibit; None for a file that has no picture, or is gone by
        now.
        """
        if exhibit.path is None or not self._left:
            return None
        with contextlib.suppress(NotUsableError, MemoryError):
            source = data_uri(thumbnail(exhibit.path, _THUMBNAIL_PIXELS))
            self._left -= 1
            return source
        return None


def _shown(finding: Finding, pictures: _Pictures) -> dict[str, Any]:
    """Return a finding with its first photos as pictures and the next as names."""
    pictured = [
        (exhibit, pictures.of(exhibit)) for exhibit in finding.exhibits[:_MAX_PICTURES_PER_FINDING]
    ]
    figures = [(exhibit, source) for exhibit, source in pictured if source]
    seen = {id(exhibit) for exhibit, _ in figures}
    rest = (exhibit for exhibit in finding.exhibits if id(exhibit) not in seen)
    named = list(islice(rest, _MAX_NAMES_PER_FINDING))
    unnamed = len(finding.exhibits) - len(figures) - len(named)
    return {"finding": finding, "figures": figures, "named": named, "unnamed": unnamed}


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "what": finding.what,
        "advice": finding.advice,
        "files": [{"name": exhibit.name, "remark": exhibit.remark} for exhibit in finding.exhibits],
    }


def _boxes(evidence: Evidence) -> int | None:
    """Return the number of boxes on scenes; None for photos of single products."""
    scenes = evidence.photos.scenes
    return None if scenes is None else sum(len(scene.boxes) for scene in scenes.scenes)


def _classes(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the classes, largest first: name, photos, photos per split if known, length of the bar
    (0 to 1).
    """
    counts = evidence.photos.per_class()
    splits = evidence.photos.splits() or {}
    largest = max(counts.values(), default=1)
    return [
        {
            "name": label or "scenes",
            "photos": count,
            "parts": {part: splits[label][part] for part in ("train", "validation", "test")},
            "share": count / largest,
        }
        for label, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _trains_on(evidence: Evidence) -> str:
    machine = evidence.machine
    return "Processor" if machine.device == "cpu" or machine.device_trouble else machine.device_name


def _machine(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the facts about machine and server, good or bad: (name, value)."""
    machine = evidence.machine
    probe = evidence.probe
    return list(
        _known(
            ("Trains on", machine.device_name),
            ("Graphics driver", machine.driver),
            (
                "Graphics memory",
                machine.device_memory
                and "{} free of {}".format(*map(format_bytes, machine.device_memory)),
            ),
            ("Processor cores", str(machine.cores)),
            (
                "Memory",
                machine.memory and "{} available of {}".format(*map(format_bytes, machine.memory)),
            ),
            *(
                (f"Room for {disk.purpose}", f"{format_bytes(disk.free)} in {disk.path}")
                for disk in machine.disks
            ),
            ("Server", probe and probe.server),
            (
                "Server's certificate",
                probe
                and probe.ends
                and f"{days_left(probe.ends)} days left, to {probe.ends:%d %B %Y}",
            ),
            ("Server's clock", probe and probe.skew is not None and _skew(probe.skew)),
        )
    )


def _skew(seconds: float) -> str:
    return (
        "the same as here"
        if abs(seconds) < 2
        else f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
    )


def _known(*rows: tuple[str, Any]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in rows if value)
