"""Runs the service from an image that `build.sh` made and checks it as an operator would.

`python3 deploy/containers/try_image.py crossfix-serve --encoder E --gallery G --photo p.jpg`
prints what it saw as JSON; it ends with 1 and a sentence at the first thing that is wrong. Needs
root, buildah and runc.
"""

import argparse
import http.client
import json
import socket
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from local_images import STORAGE, LocalImages
from oci_container import OciContainer

READY_S = 120.0
# NVIDIA's runtime mounts the driver's library into a container; TensorRT is not used.
MAY_BE_MISSING = {"libcuda.so.1", "libnvinfer.so.10", "libnvonnxparser.so.10"}
LICENCES = {"LICENSE", "NOTICE", "THIRD_PARTY_LICENCES.md"}
HERE = Path(__file__).parent


def demand(holds: object, sentence: str) -> None:
    """Ends with the sentence unless it holds."""
    if not holds:
        raise SystemExit(f"try_image.py: {sentence}")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, dict | str]:
    """Status and answer; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
    return answer.status, json.loads(text) if text.startswith("{") else text


def wait_until_ready(container: OciContainer, port: int) -> float:
    """Seconds until /readyz answered 200."""
    began = time.monotonic()
    while ask(port, "GET", "/readyz")[0] != 200:
        waited = time.monotonic() - began
        if not container.is_running() or waited > READY_S:
            said = container.log.read_text(encoding="utf-8")[-3000:]
            raise SystemExit(f"try_image.py: not ready after {waited:.0f} s. It said:\n{said}")
        time.sleep(0.05)
    return time.monotonic() - began


def check_health_command(container: OciContainer, image: dict) -> None:
    """The image's own HEALTHCHECK agrees, and sees a port where nobody is."""
    kind, *command = image["Healthcheck"]["Test"]
    demand(kind == "CMD", "HEALTHCHECK is not in the form that needs no shell")
    said = container.run_inside(*command)
    demand(said.returncode == 0, f"HEALTHCHECK fails on a ready service: {said.stdout}")
    said = container.run_inside("env", f"CROSSFIX_PORT={free_port()}", *command)
    demand(said.returncode == 1, "HEALTHCHECK takes a port where nobody listens for healthy")


def check_inside(container: OciContainer, constraints: Path | None) -> dict:
    """Who runs there, what is there and what cannot be done."""
    said = container.run_inside("python3", "-c", (HERE / "look_inside.py").read_text("utf-8"))
    demand(said.returncode == 0, f"looking inside failed: {said.stderr}")
    seen = json.loads(said.stdout)
    demand((seen["uid"], seen["gid"]) == (10001, 10001), f"it runs as {seen['uid']}:{seen['gid']}")
    demand(not seen["writable"], f"the root is not read-only: {seen['writable']}")
    demand(seen["tmp_writable"], "/tmp cannot be written")
    demand(not seen["torch"], "torch is in the image")
    demand(not seen["programs"], f"the image has {', '.join(seen['programs'])}")
    demand(not seen["reports"], f"ONNX Runtime collects reports for its maker: {seen['reports']}")
    unsaid = sorted(LICENCES - set(seen["licences"]))
    demand(not unsaid, f"the image has no {', '.join(unsaid)}")
    missing = sorted(set(seen["missing_libraries"]) - MAY_BE_MISSING)
    demand(not missing, f"no file for {', '.join(missing)}")
    if constraints is not None:
        pinned = set(constraints.read_text(encoding="utf-8").replace(" ", "").lower().split("\n"))
        pinned = {line.partition(";")[0] for line in pinned}
        loose = [f"{name}=={version}" for name, version in seen.pop("packages").items()]
        loose = [one for one in loose if one not in pinned and not one.startswith("crossfix==")]
        demand(not loose, f"not pinned by {constraints}: {', '.join(sorted(loose))}")
    seen.pop("packages", None)
    return seen


def check_answer(port: int, photo: Path, query: str, expected_tile: str | None) -> dict:
    """The service locates the photo."""
    status, answer = ask(port, "POST", f"/localize?{query}", photo.read_bytes())
    demand(status == 200 and isinstance(answer, dict), f"/localize answered {status}: {answer}")
    best = answer["matches"][0]["tile_id"]
    demand(expected_tile in (None, best), f"the best tile is {best}, not {expected_tile}")
    return {"best_tile": best, "estimate": answer["estimate"], "stage_ms": answer["stage_ms"]}


def try_image(given: argparse.Namespace) -> dict:
    """Everything in order; what was seen."""
    images = LocalImages(given.storage)
    image = images.config(given.image)
    port = free_port()
    env = {"CROSSFIX_PORT": str(port), "CROSSFIX_HOST": "127.0.0.1", "CROSSFIX_DRAIN_S": "0.5"}
    env.update(pair.split("=", 1) for pair in given.env)
    folders = {"/data/encoder": (given.encoder, "ro"), "/data/gallery": (given.gallery, "ro")}
    with tempfile.TemporaryDirectory() as scratch, images.files(given.image) as root:
        container = OciContainer(Path(scratch), f"crossfix-try-{uuid.uuid4().hex[:8]}")
        try:
            container.start(image, root, env=env, folders=folders, arguments=given.arguments)
            seen = {"ready_s": round(wait_until_ready(container, port), 2)}
            seen |= check_answer(port, given.photo, given.query, given.expect_tile)
            check_health_command(container, image)
            seen |= check_inside(container, given.constraints)
            status, took_s = container.stop(60)
            demand(status == 0, f"after SIGTERM it ended with {status}")
            demand(ask(port, "GET", "/livez")[0] == 0, "something still answers after its end")
        finally:
            container.remove()
    layers = [round(size / 1e6, 1) for size in images.layer_bytes(given.image)]
    return {**seen, "stopped_s": round(took_s, 2), "mb": round(sum(layers)), "layers_mb": layers}


def main() -> None:
    """Reads the flags and prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="for example localhost/crossfix-serve:local")
    parser.add_argument("--storage", type=Path, default=STORAGE)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--query", default="view=ground", help="what to ask about the photo")
    parser.add_argument("--expect-tile", help="id of the tile that must come first")
    parser.add_argument("--constraints", type=Path, help="every package must be pinned there")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("arguments", nargs="*", help="flags for the service, after --")
    sys.stdout.write(json.dumps(try_image(parser.parse_args()), indent=1) + "\n")


if __name__ == "__main__":
    main()
