"""The commands of pages that no test runs as they stand there, with the reason."""

from collections.abc import Mapping

ROOT_RIGHTS = "needs root's rights on a machine of its own"
NOT_RUN: Mapping[str, Mapping[str, str]] = {  # page -> the beginning of commands -> why
    "docs/how-to/use.md": {
        "flower-client watch MODEL /dev/video0": "needs a camera at this machine",
    },
    "docs/how-to/operations.md": {
        "sudo python3 -m venv": ROOT_RIGHTS,
        "sudo /opt/fedshelf/bin/pip": ROOT_RIGHTS,
        "sudo useradd": ROOT_RIGHTS,
        "sudo install -d -o fedshelf": ROOT_RIGHTS,
        "sudo systemctl": "needs a systemd of its own; tests/deploy gives the units to one",
        "docker ": "needs containers and a network; tests/deploy checks the files",
    },
    "docs/how-to/monitoring.md": {"ssh ": "needs a second machine"},
    "docs/how-to/ray.md": {"ray start --address": "needs a second machine"},
    "docs/how-to/upgrading.md": {
        "systemctl ": "needs a systemd of its own; tests/deploy gives the units to one"
    },
    "docs/reference/reports.md": {"wandb sync": "needs a login at wandb.ai"},
}
