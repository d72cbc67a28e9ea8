"""Programs of others verify logs made by our pure modules, and refuse what is not sound."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from tests.foreign import tools
from tests.foreign.tools import Verdict

from audit_log import merkle, tiles
from audit_log.checkpoint import Signer, Verifier, open_strictly, split_note

ORIGIN = "log.test/master"
SIZES = (0, 1, 255, 256, 257, 65_535, 65_536, 65_537)
SMALL = 600  # two full bundles, a partial one, and a tile above: few enough to check every entry
ALL, SAMPLE = 2000, 500  # our two programs check every entry up to so many, else so many

Check = Callable[..., Verdict]
CHECKS = [tools.fsck, tools.sumdb, tools.merkle]


def seed(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


class Log:
    """A log as static files in *folder*; one with another *history* differs from entry 3 on."""

    signer = Signer(ORIGIN, seed(1))
    vkey = signer.verifier.vkey

    def __init__(self, folder: Path, history: str = "") -> None:
        self.folder = folder
        self.history = history
        self.size = 0
        self.tiles: dict[merkle.Tile, bytes] = {}
        (folder / "tile").mkdir(parents=True)

    def leaf(self, index: int) -> bytes:
        history = self.history if index >= 3 else ""
        return hashlib.sha512(f"{index}{history}".encode()).digest()

    def edges(self) -> dict[merkle.Tile, bytes]:
        return {tile: self.tiles[tile] for tile in merkle.edge(self.size)}

    def root(self) -> bytes:
        return merkle.root(self.size, self.edges())

    def grow(self, size: int) -> str:
        """Add entries up to *size*, publish the log of that size below its own folder; sign it."""
        fresh = [merkle.leaf_hash(self.leaf(i)) for i in range(self.size, size)]
        changed = merkle.grow(self.size, self.edges(), fresh)
        self.tiles |= changed
        for (level, number), body in changed.items():
            self._write(level, number, len(body) // merkle.HASH, body)
        if fresh:
            for number in range(self.size // merkle.WIDTH, -(-size // merkle.WIDTH)):
                first = number * merkle.WIDTH
                leaves = [self.leaf(i) for i in range(first, min(first + merkle.WIDTH, size))]
                self._write(None, number, len(leaves), tiles.bundle(leaves))
        self.size = size
        note = self.signer.sign(size, self.root())
        published = self.folder / str(size) / "log"
        published.mkdir(parents=True)
        (published / "checkpoint").write_text(note)
        (published / "tile").symlink_to(self.folder / "tile")
        return note

    def _write(self, level: int | None, number: int, width: int, body: bytes) -> None:
        path = self.folder / "tile" / tiles.path_of(level, number, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def proof(self, old: int) -> list[bytes]:
        return merkle.consistency_proof(lambda *tile: self.tiles[tile], old, self.size)


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # lets a client keep its connection
    disable_nagle_algorithm = True  # which would hold each body back until its head is confirmed

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    """Serve what is in the folder *root*."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def checkpoints(root: Path) -> dict[int, str]:
    """Grow one log through all sizes; return what it signed at each."""
    log = Log(root / "sound")
    return {size: log.grow(size) for size in SIZES}


@pytest.fixture
def small(root: Path, request: pytest.FixtureRequest) -> Log:
    """Return a log of its own for a test."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    log = Log(root / name)
    log.grow(SMALL)
    return log


def address(url: str, log: Log) -> str:
    return f"{url}/{log.folder.name}/{log.size}/log"


@pytest.mark.parametrize("size", SIZES)
def test_fsck_finds_every_size_sound(url: str, checkpoints: dict[int, str], size: int) -> None:
    assert size in checkpoints
    verdict = tools.fsck(f"{url}/sound/{size}/log", Log.vkey)
    assert verdict, verdict.said
    assert verdict.found == {"size": size}


@pytest.mark.parametrize("check", [tools.sumdb, tools.merkle])
@pytest.mark.parametrize(("old", "size"), [(0, 0), *pairwise(SIZES), (1, 257)])
def test_proofs_hold_at_every_size(
    url: str, checkpoints: dict[int, str], check: Check, old: int, size: int
) -> None:
    verdict = check(f"{url}/sound/{size}/log", Log.vkey, checkpoints[old])
    assert verdict, verdict.said
    inclusion = size if size <= ALL else SAMPLE
    assert verdict.found == {"size": size, "inclusion": inclusion, "consistency": 1}


PROOF = "log has:|inconsistent tile|calculated root|invalid transparency proof"
FORM = "unmarshal:|failed to parse EntryBundle|not a bundle"
SIGNATURE = "invalid signature"
UNSIGNED = "no verifiable signatures"
MISSING = "does not exist|404"


def spoil(path: Path, at: int | None) -> None:
    """Change a bit of the byte *at* which a file is to be spoilt; None takes it all away."""
    if at is None:
        path.unlink()
        return
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("path", "at", "reason"),
    [
        ("tile/entries/001", -1, PROOF),
        ("tile/entries/001", 0, FORM),
        ("tile/entries/001", None, MISSING),
        ("tile/entries/002.p/88", -1, PROOF),
        ("tile/0/001", 4000, PROOF),
        ("tile/0/001", None, MISSING),
        ("tile/0/002.p/88", -1, PROOF),
        ("tile/1/000.p/2", 0, PROOF),
        (f"{SMALL}/log/checkpoint", len(ORIGIN) + 1, SIGNATURE),  # the size
        (f"{SMALL}/log/checkpoint", -20, SIGNATURE),
        (f"{SMALL}/log/checkpoint", -93, UNSIGNED),  # the id of the key
        (f"{SMALL}/log/checkpoint", None, MISSING),
    ],
)
def test_damage_is_refused(
    url: str, small: Log, check: Check, path: str, at: int | None, reason: str
) -> None:
    spoil(small.folder / path, at)
    verdict = check(address(url, small), Log.vkey)
    assert not verdict
    assert re.search(reason, verdict.said), verdict.said


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("size", "own_root", "reason"),
    [
        (SMALL, False, PROOF),
        (SMALL - 1, True, MISSING),
        (SMALL + 1, True, MISSING),
        (0, True, "calculated root|do not lead to the root|not the root of an empty tree"),
    ],
)
def test_what_is_signed_but_untrue_is_refused(
    url: str, small: Log, check: Check, size: int, own_root: bool, reason: str
) -> None:
    note = small.signer.sign(size, small.root() if own_root else bytes(merkle.HASH))
    (small.folder / str(SMALL) / "log" / "checkpoint").write_text(note)
    verdict = check(address(url, small), Log.vkey)
    assert not verdict
    assert re.search(reason, verdict.said), verdict.said


@pytest.mark.parametrize("check", CHECKS)
def test_a_signature_by_another_key_is_refused(url: str, small: Log, check: Check) -> None:
    other = Signer(ORIGIN, seed(2)).verifier.vkey
    assert check(address(url, small), Log.vkey)
    verdict = check(address(url, small), other)
    assert not verdict
    assert re.search(UNSIGNED, verdict.said), verdict.said


@pytest.fixture(scope="module")
def fork(root: Path) -> Log:
    """Return a log whose history was rewritten from entry 3 on."""
    log = Log(root / "fork", "rewritten")
    log.grow(257)
    log.grow(SMALL)
    return log


@pytest.mark.parametrize("check", CHECKS)
def test_a_rewritten_history_is_sound_in_itself(url: str, fork: Log, check: Check) -> None:
    assert check(address(url, fork), Log.vkey)


@pytest.mark.parametrize("check", [tools.sumdb, tools.merkle])
@pytest.mark.parametrize("old", [255, 257, SMALL])
def test_a_rewritten_history_is_refused_by_who_remembers(
    url: str, small: Log, fork: Log, checkpoints: dict[int, str], check: Check, old: int
) -> None:
    known = {**checkpoints, SMALL: small.signer.sign(SMALL, small.root())}
    assert check(address(url, small), Log.vkey, known[old])
    verdict = check(address(url, fork), Log.vkey, known[old])
    assert not verdict
    assert re.search(f"older checkpoint: .*({PROOF})", verdict.said), verdict.said


@pytest.mark.parametrize("check", [tools.sumdb, tools.merkle])
def test_a_shortened_log_is_refused_by_who_remembers(
    url: str, checkpoints: dict[int, str], check: Check
) -> None:
    verdict = check(f"{url}/sound/255/log", Log.vkey, checkpoints[257])
    assert not verdict
    assert "older checkpoint: " in verdict.said


@pytest.mark.parametrize("check", [tools.sumdb, tools.merkle])
def test_an_older_checkpoint_must_be_signed(
    url: str, checkpoints: dict[int, str], check: Check
) -> None:
    forged = Signer(ORIGIN, seed(2)).sign_text(split_note(checkpoints[255])[0])
    verdict = check(f"{url}/sound/257/log", Log.vkey, forged)
    assert not verdict
    assert re.search(f"older checkpoint: .*{UNSIGNED}", verdict.said), verdict.said


def add(witness: str, old: int, proof: Sequence[bytes], note: str) -> httpx.Response:
    """Ask a witness to cosign (C2SP tlog-witness)."""
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), ""]
    return httpx.post(f"{witness}/add-checkpoint", content="\n".join([*lines, note]))


def test_witness_cosigns_growth_and_all_tools_read_that(
    url: str, root: Path, tmp_path: Path
) -> None:
    log = Log(root / "witnessed")
    with tools.litewitness(tmp_path, ORIGIN, Log.vkey) as (witness, key):
        trusted = (log.signer.verifier, Verifier.parse(key))
        for old, size in pairwise((0, 5, 9, SMALL)):
            note = log.grow(size)
            answer = add(witness, old, log.proof(old), note)
            assert answer.status_code == 200, answer.text
            again = add(witness, size, [], note)  # a second time does no harm
            assert again.status_code == 200, again.text
            cosigned = note + answer.text
            assert open_strictly(cosigned, *trusted).size == size
            assert len(split_note(cosigned)[1]) == 2
    (log.folder / str(SMALL) / "log" / "checkpoint").write_text(cosigned)
    assert tools.fsck(address(url, log), Log.vkey)
    assert tools.sumdb(address(url, log), Log.vkey, cosigned)
    assert tools.merkle(address(url, log), Log.vkey, cosigned)


def test_witness_refuses_all_else(tmp_path: Path) -> None:
    log, fork = Log(tmp_path / "log"), Log(tmp_path / "fork", "rewritten")
    five, nine = log.grow(5), log.grow(9)
    forked_nine, forked_twelve = fork.grow(9), fork.grow(12)
    with tools.litewitness(tmp_path, ORIGIN, Log.vkey) as (witness, _):
        assert add(witness, 0, [], five).status_code == 200
        assert add(witness, 5, log.proof(5), nine).status_code == 200

        stale = add(witness, 5, log.proof(5), nine)  # it has moved on, and says to where
        assert (stale.status_code, stale.text) == (409, "9\n")
        assert stale.headers["content-type"] == "text/x.tlog.size"
        assert add(witness, 5, [], five).status_code == 409
        assert add(witness, 9, [], five).status_code == 400  # a rollback

        assert add(witness, 9, [], forked_nine).status_code == 422
        assert add(witness, 9, fork.proof(9), forked_twelve).status_code == 422
        twelve = log.grow(12)
        assert add(witness, 9, [], twelve).status_code == 422
        assert add(witness, 9, fork.proof(9), twelve).status_code == 422

        forged = Signer(ORIGIN, seed(2)).sign(12, log.root())
        assert add(witness, 9, log.proof(9), forged).status_code == 403
        elsewhere = Signer("other.test/log", seed(1)).sign(12, log.root())
        assert add(witness, 9, log.proof(9), elsewhere).status_code == 404

        assert add(witness, 9, log.proof(9), twelve).status_code == 200  # none of it did harm
