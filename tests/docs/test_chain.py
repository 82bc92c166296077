"""One chain of three stores on this machine, run by the commands of the pages about chains."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.deployed import Command, draw_photos, free_port, history, summary, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.frozen_backbone import frozen_backbone
from tests.helpers.page_commands import ROOT, PageCommands
from tests.helpers.python_page import definitions
from tests.helpers.serving_process import serving_process

HERE = ("--host", "127.0.0.1", "--live-port", "0")
QUICK = ("--set", "data.image_size=16", *HERE)
CLASSES = ("hat", "shirt", "shoe")


class Chain:
    """A chain in the current folder, which the commands of the pages start and use.

    Its stores are oslo-7 and lyon-2, and later rome-1.
    """

    def __init__(self, command: Starter, place: Path) -> None:
        self._command = command
        self.place = place
        self.home = Path(command.environment["FEDSHELF_HOME"])
        self.port = free_port()
        self._changes = {"shop.example": "localhost", "9092": str(self.port)}
        self.pages = list[PageCommands]()
        self.stores = dict[str, Command]()

    def page(
        self,
        name: str,
        changes: Mapping[str, str] | None = None,
        only: tuple[str, ...] = ("",),
        but: tuple[str, ...] = (),
    ) -> PageCommands:
        """Return a page's commands, with this chain's address."""
        page = PageCommands(
            f"docs/how-to/{name}.md", {**self._changes, **(changes or {})}, only, but
        )
        self.pages.append(page)
        return page

    def start(self, line: str, *more: str | Path) -> Command:
        """Start a command that stays."""
        return self._command(*shlex.split(line), *more)

    def run(self, line: str, *more: str | Path) -> str:
        """Run a command to its end; return what it printed."""
        done = self.start(line, *more)
        assert done.ends() == 0, f"{line}\n{done.text}"
        return done.text

    def join(self, store: str) -> None:
        """Join a store by the line of joining.md, in which it is oslo-7."""
        line = "flower-client join --kit oslo-7.kit --data photos"
        assert line in (ROOT / "docs/how-to/joining.md").read_text(encoding="utf-8")
        line = line.replace("oslo-7", store).replace("photos", f"photos-{store}")
        self.stores[store] = self.start(line)


@pytest.fixture
def chain(command: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """A folder with the photos of three stores, and the code of docs/how-to/python.md installed."""
    place = tmp_path / "shops"
    place.mkdir()
    monkeypatch.chdir(place)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mylab.py").write_text(definitions())
    command.environment["PYTHONPATH"] = str(tmp_path / "site")
    draw_photos(Path("photos"), CLASSES)
    shutil.copytree("photos", "photos-oslo-7")
    draw_photos(Path("photos-lyon-2"), CLASSES, seed=1)
    draw_photos(Path("photos-rome-1"), (*CLASSES, "umbrella"), seed=3)
    draw_photos(Path("inbox"), ["hat", "umbrella"], seed=2)
    return Chain(command, place)


@pytest.mark.slow(minutes=2)
@pytest.mark.timeout(1800)
def test_a_chain_is_run_as_the_pages_say(chain: Chain) -> None:
    train_two_stores(chain)
    label_photos_and_join(chain)
    forget_a_store(chain, teach_a_new_product(chain))
    for page in chain.pages:
        assert page.left == []


@pytest.mark.slow(minutes=1)
def test_stores_get_releases_and_train_own_code_as_the_pages_say(chain: Chain) -> None:
    names = "oslo-7,lyon-2,rome-1"
    kits = ("--stores", names, "--host", "localhost", "--port", str(chain.port))
    chain.run("flower-server provision --out chain", *kits)
    for name in names.split(","):
        shutil.copy(f"chain/kits/{name}.kit", ".")
        chain.join(name)
    release_a_model(chain)
    train_own_code(chain)
    for page in chain.pages:
        assert page.left == []


def train_two_stores(chain: Chain) -> None:
    joining = chain.page("joining", but=("flower-server move",))
    health = chain.page("health")
    chain.run(joining.take("flower-server provision"))
    server = chain.start(joining.take("flower-server start"), *QUICK, "--rounds", "3")
    for store in ("oslo-7", "lyon-2"):
        shutil.copy(f"chain/kits/{store}.kit", ".")
    Path("oslo-7.kit").chmod(0o644)
    subprocess.run(shlex.split(joining.take("chmod")), check=True)
    server.says("Waiting for stores")
    assert joining.take("flower-client check") == (checked := health.take("flower-client check"))
    assert "hat" in chain.run(checked)
    chain.start(joining.take("flower-client join"))
    chain.join("lyon-2")
    assert server.ends() == 0, server.text
    assert summary(Path("runs/spring"))["status"] == "finished"
    chain.run(health.take("flower-client check --name"))
    Path("spring").mkdir()
    for name in ("model.safetensors", "model.json"):
        shutil.copy(f"runs/spring/{name}", "spring")
    chain.run(joining.take("flower-client export"))
    own, common = (Path(f"{name}/model.safetensors").read_bytes() for name in ("own", "spring"))
    assert own != common
    operations = chain.page(
        "operations", {"runs/shops": "runs/spring"}, only=("flower-server deliver",)
    )
    chain.run(operations.take("flower-server deliver"))


def label_photos_and_join(chain: Chain) -> None:
    """Add a store whose photos are those that a person labelled."""
    line = "flower-server provision --stores rome-1 --out chain"
    assert f"`{line}`" in (ROOT / "docs/how-to/joining.md").read_text()
    chain.run(line)
    shutil.copy("chain/kits/rome-1.kit", "store.kit")
    labelled = (
        "flower-client annotate MODEL inbox --out ask", "flower-client corrections",
        "flower-client join",
    )  # fmt: skip
    use = chain.page("use", {"MODEL": "runs/spring"}, only=labelled)
    chain.run(use.take("flower-client annotate"))
    asked = json.loads(Path("ask/label-studio.json").read_text())
    assert 0 < len(asked) <= 50
    prefix = asked[0]["data"]["image"].partition("inbox")[0]
    photos = [str(path) for path in sorted(Path("inbox").rglob("*.png"))]
    answers = [
        {"data": {"image": f"{prefix}{photo}"}, "annotations": [{"result": [choice(photo)]}]}
        for photo in photos
    ]
    assert {task["data"]["image"] for task in asked} <= {task["data"]["image"] for task in answers}
    Path("export.json").write_text(json.dumps(answers))
    chain.run(use.take("flower-client corrections"))
    chain.start(use.take("flower-client join"))


def choice(photo: str) -> dict[str, Any]:
    """Return the label of a person who sees a photo in the folder of its class."""
    value = {"choices": [Path(photo).parent.name]}
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": value}


def teach_a_new_product(chain: Chain) -> PageCommands:
    page = chain.page("new-product", {"runs/shops": "runs/spring"})
    chain.run(page.take("flower-server start --resume-from"), *QUICK, "--rounds", "1")
    assert summary(Path("runs/spring-2"))["old_classes"]
    assert "umbrella" in json.loads(Path("runs/spring-2/model.json").read_text())["classes"]
    return page


def forget_a_store(chain: Chain, page: PageCommands) -> None:
    """Back up a run whose head is solved for, go on in the copy and in the run, forget a store."""
    del page.changes["runs/shops"]
    weights = frozen_backbone("cnn", 16)["model__weights"]
    chain.run(
        "flower-server start --credentials chain/server --out runs/shops --stores 3 --rounds 1"
        f" --strategy ridge --model cnn --weights {weights} --set model.freeze=backbone"
        f" --classes {','.join(CLASSES)},umbrella",
        *QUICK,
    )
    restored = back_up_and_restore(chain)
    later = page.take("flower-server start --out runs/shops --resume --rounds 2")
    for folder in ("runs/shops", "chain/server"):
        later = later.replace(folder, f"{restored}/{folder}")
    chain.run(later, *HERE)
    assert len(history(restored / "runs/shops")) == 2

    run = Path("runs/shops")
    running = chain.start(
        "flower-server start --out runs/shops --resume --credentials chain/server --rounds 1000",
        *HERE,
    )
    wait_for(lambda: len(history(run)) > 1 or running.process.poll() is not None)
    chain.run(page.take("flower-server stop"))
    assert running.ends() == 130, running.text
    chain.run(page.take("flower-server stores forget"))
    rounds = len(history(run)) + 1
    chain.run(page.take("flower-server start"), "--rounds", str(rounds), *HERE)
    told = summary(run)
    assert told["status"] == "finished"
    assert "oslo-7" not in told["per_store"]


def back_up_and_restore(chain: Chain) -> Path:
    """Return the folder of a copy of the chain that tar wrote and read."""
    above = str(chain.place.parent)
    page = chain.page("upgrading", {"/backup": above, "/var/lib/fedshelf": above})
    subprocess.run(shlex.split(page.take("tar")), check=True)
    restored = chain.place.parent / "restored"
    restored.mkdir()
    archive = f"{above}/shops.tar.gz"
    subprocess.run(["tar", "--extract", "--file", archive, "-C", restored], check=True)
    assert not list(restored.rglob("flower"))
    return restored / "shops"


def release_a_model(chain: Chain) -> None:
    use = chain.page(
        "use",
        {"~/.local/state/fedshelf": str(chain.home), "stores/oslo/": "stores/oslo-7/"},
        only=("flower-server start", "flower-client serve ~"),
    )
    chain.run("flower-server release-key release.key")
    chain.run(f"flower-client pin-release-key {Path('release.key.pub').read_text().strip()}")
    more = ("--rounds", "1", "--model", "cnn", "--classes", ",".join((*CLASSES, "umbrella")))
    chain.run(use.take("flower-server start"), *QUICK, *more, "--set", "run.name=shop")
    _, _, model = shlex.split(use.take("flower-client serve"))
    with serving_process(Path(model), FEDSHELF_HOME=str(chain.home)) as service:
        told = httpx.get(f"{service.url}/v1/model", trust_env=False).json()
    assert "umbrella" in told["classes"]


def train_own_code(chain: Chain) -> None:
    """Install the code of docs/how-to/python.md at two stores, whose policies list it."""
    (policy,) = PageCommands("docs/reference/policy.md").blocks("toml")
    joining = chain.page("joining", only=("flower-server move",))
    for name in ("oslo-7", "lyon-2"):
        chain.stores[name].interrupt()
        assert chain.stores[name].ends() == 0, chain.stores[name].text
        (chain.home / "stores" / name / "policy.toml").write_text(policy)
        chain.join(name)
    page = chain.page("python", only=("flower-server start",))
    line = page.take("flower-server start")
    more = ("--rounds", "1", "--out", "runs/own", "--classes", ",".join(CLASSES))
    chain.run(line, *QUICK, *more)
    assert 0 < history(Path("runs/own"))[-1]["validation"]["top2"] <= 1
    joining.changes["new.example"] = "127.0.0.1"
    assert "127.0.0.1" in chain.run(joining.take("flower-server move"))
