"""Build the manifests and check them, offline.

Each overlay, and the base, is built with kustomize.  Every object is held against the schema of
its kind, with unknown fields refused, and the whole against our own rules below: what the
schemas allow and the cluster would refuse, or would run and we do not want.

Usage: ``python deploy/k8s/check.py [ROOT]``; exits 1 if anything is wrong.
"""
# ruff: noqa: INP001, T201 - a script, not a module; it talks to people

import importlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

from shared.settings import PREFIX, ServiceSettings

KUBERNETES: Final = "1.37"
ROOT: Final = Path(__file__).parents[2]
LONG_RUNNING: Final = {"Deployment", "StatefulSet"}
VOLUMES: Final = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}

Object = dict[str, Any]
Problems = Iterator[str]


def kustomize() -> list[str] | None:
    """Return the command that builds a kustomization, or None if there is none here."""
    for name, verb in (("kustomize", "build"), ("kubectl", "kustomize")):
        if path := shutil.which(name):
            return [path, verb]
    return None


def build(command: list[str], folder: Path) -> list[Object]:
    """Return the objects of a kustomization.

    Raises:
        subprocess.CalledProcessError: it cannot be built; standard error says why.
    """
    built = subprocess.run(  # noqa: S603 - our own command on our own files
        [*command, str(folder)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(built.stdout))


def problems(objects: list[Object], root: Path) -> Problems:
    """Say what is wrong with the objects of one kustomization of the project at *root*."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    for an_object in objects:
        yield from _schema(an_object)
    for workload in _workloads(objects):
        yield from _restricted(workload)
        yield from _resources(workload)
        yield from _settings(workload, objects)
        yield from _version(workload, version)
        if workload["kind"] in LONG_RUNNING:
            yield from _probes(workload)
        if workload["kind"] == "Deployment":
            yield from _service_account(workload, objects)
            yield from _disruption_budget(workload, objects)
        yield from _network_policy(workload, objects)
    yield from _namespace(objects)
    yield from _policies(objects, root)


def _schema(an_object: Object) -> Problems:
    try:
        kubernetes_validate.validate(an_object, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{_name(an_object)}: {'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield f"{_name(an_object)}: {error.message}"


def _restricted(workload: Object) -> Problems:
    """Pod Security "restricted", and a root file system that nobody can write to."""
    pod = _pod(workload)
    context = pod.get("securityContext", {})
    profile = context.get("seccompProfile", {}).get("type")
    wanted = {
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser other than 0": context.get("runAsUser", 0) != 0,
        "seccompProfile RuntimeDefault": profile == "RuntimeDefault",
        "automountServiceAccountToken: false": pod.get("automountServiceAccountToken") is False,
        "no host namespaces": not any(pod.get(f"host{n}") for n in ("Network", "PID", "IPC")),
        "volumes of harmless kinds": all(
            set(v) - {"name"} <= VOLUMES for v in pod.get("volumes", [])
        ),
    }
    yield from (f"{_name(workload)}: lacks {what}" for what, met in wanted.items() if not met)
    for container in _containers(workload):
        context = container.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation: false": context.get("allowPrivilegeEscalation") is False,
            "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
            "capabilities that drop ALL alone": context.get("capabilities") == {"drop": ["ALL"]},
            "privileged: false": not context.get("privileged"),
        }
        where = f"{_name(workload)}, container {container['name']}"
        yield from (f"{where}: lacks {what}" for what, met in wanted.items() if not met)


def _resources(workload: Object) -> Problems:
    for container in _containers(workload):
        where = f"{_name(workload)}, container {container['name']}"
        resources = container.get("resources", {})
        for resource in ("cpu", "memory", "ephemeral-storage"):
            if resource not in resources.get("requests", {}):
                yield f"{where}: requests no {resource}"
        if "memory" not in resources.get("limits", {}):
            yield f"{where}: has no memory limit"
        if "cpu" in resources.get("limits", {}):
            yield f"{where}: has a CPU limit, which slows it down while CPUs idle"


def _probes(workload: Object) -> Problems:
    for container in _pod(workload)["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"{_name(workload)}, container {container['name']}: has no {probe}"


def _service_account(deployment: Object, objects: list[Object]) -> Problems:
    wanted = _pod(deployment).get("serviceAccountName")
    accounts = [o for o in _of_kind(objects, "ServiceAccount") if o["metadata"]["name"] == wanted]
    if not accounts:
        yield f"{_name(deployment)}: no ServiceAccount {wanted}"
    for account in accounts:
        if account.get("automountServiceAccountToken") is not False:
            yield f"{_name(account)}: gives its pods a token"


def _disruption_budget(deployment: Object, objects: list[Object]) -> Problems:
    budgets = _of_kind(objects, "PodDisruptionBudget")
    if not any(_selects(b["spec"].get("selector"), deployment) for b in budgets):
        yield f"{_name(deployment)}: no PodDisruptionBudget selects it"


def _network_policy(workload: Object, objects: list[Object]) -> Problems:
    """A policy of its own, besides those that select every pod."""
    selectors = [o["spec"].get("podSelector") for o in _of_kind(objects, "NetworkPolicy")]
    if not any(selector and _selects(selector, workload) for selector in selectors):
        yield f"{_name(workload)}: no NetworkPolicy selects it"


def _settings(workload: Object, objects: list[Object]) -> Problems:
    """A service refuses to start on a ``GALLRA_*`` name that it does not read, or lacks."""
    config_maps = {o["metadata"]["name"]: o["data"] for o in _of_kind(objects, "ConfigMap")}
    for container in _containers(workload):
        where = f"{_name(workload)}, container {container['name']}"
        names = {e["name"] for e in container.get("env", [])}
        for source in container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            if name not in config_maps:
                yield f"{where}: no ConfigMap {name}"
            names |= set(config_maps.get(name, {}))
        given = {n.removeprefix(PREFIX) for n in names if n.startswith(PREFIX)}
        match container.get("args", []):
            case ["gallra", "serve", service]:
                known = _settings_of(service)
                required = {n for n, f in known.items() if f.is_required()}
            case _:
                known, required = ServiceSettings.model_fields, set[str]()
        read = {name.lower() for name in given}
        read = {n if n in known else n.removesuffix("_file") for n in read}
        yield from (
            f"{where}: does not read {PREFIX}{n.upper()}" for n in sorted(read - set(known))
        )
        yield from (f"{where}: needs {PREFIX}{n.upper()}" for n in sorted(required - read))


def _version(workload: Object, version: str) -> Problems:
    images = {c["image"] for c in _containers(workload) if c["image"].startswith("gallra/")}
    for image in sorted(images):
        if not image.endswith(f":{version}"):
            yield f"{_name(workload)}: runs {image}, but the project is at {version}"
    name = workload["metadata"]["name"]
    if "-migration-" in name and not name.endswith(f"-{version.replace('.', '-')}"):
        yield f"{_name(workload)}: its name does not end in version {version}"


def _namespace(objects: list[Object]) -> Problems:
    for namespace in _of_kind(objects, "Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{_name(namespace)}: does not enforce Pod Security restricted"


def _policies(objects: list[Object], root: Path) -> Problems:
    shipped = {path.name for path in (root / "policies").glob("*.yaml")}
    maps = [
        o for o in _of_kind(objects, "ConfigMap") if o["metadata"]["name"].startswith("policies-")
    ]
    listed = set(maps[0]["data"]) if maps else set[str]()
    for name in sorted(shipped - listed):
        yield f"policies/{name} is not listed in policies/Kustomization"


@cache
def _settings_of(service: str) -> dict[str, Any]:
    module = importlib.import_module(f"{service.replace('-', '_')}.settings")
    return dict(module.Settings.model_fields)


def _of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [o for o in objects if o["kind"] == kind]


def _workloads(objects: list[Object]) -> list[Object]:
    return [o for o in objects if "template" in o.get("spec", {})]


def _pod(workload: Object) -> Object:
    return workload["spec"]["template"]["spec"]


def _containers(workload: Object) -> list[Object]:
    pod = _pod(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def _selects(selector: Object | None, workload: Object) -> bool:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    wanted = (selector or {}).get("matchLabels", {})
    return bool(wanted) and wanted.items() <= labels.items()


def _name(an_object: Object) -> str:
    return f"{an_object['kind']} {an_object['metadata']['name']}"


def main(root: Path) -> int:
    """Check the project at *root*, print what was checked and what is wrong; return how it went."""
    command = kustomize()
    if command is None:
        print("neither kustomize nor kubectl is on PATH; deploy/README.md says how to get one")
        return 1
    k8s = root / "deploy" / "k8s"
    failed = False
    for folder in (k8s / "base", *sorted((k8s / "overlays").iterdir())):
        name = folder.relative_to(root)
        try:
            objects = build(command, folder)
        except subprocess.CalledProcessError as error:
            print(f"{name}: {' '.join(command)} failed\n{error.stderr}")
            failed = True
            continue
        found = list(problems(objects, root))
        kinds = sorted({o["kind"] for o in objects})
        print(f"{name}: {len(objects)} objects ({', '.join(kinds)}), {len(found)} problems")
        for problem in found:
            print(f"  {problem}")
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
