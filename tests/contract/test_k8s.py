"""The check of the manifests finds what it is there to find."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("check", ROOT / "deploy/k8s/check.py")
assert _spec is not None
assert _spec.loader is not None
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

pytestmark = pytest.mark.skipif(
    check.kustomize() is None, reason="neither kustomize nor kubectl is on PATH"
)

DEPLOYMENT = "base/service/deployment.yaml"
SETTINGS = "base/notifier/kustomization.yaml"
BREAKAGES = [
    (DEPLOYMENT, "runAsNonRoot: true", "", "lacks runAsNonRoot"),
    (DEPLOYMENT, "runAsUser: 65532", "runAsUser: 0", "lacks runAsUser other than 0"),
    (DEPLOYMENT, "type: RuntimeDefault", "type: Unconfined", "lacks seccompProfile"),
    (DEPLOYMENT, "drop: [ALL]", "drop: [NET_RAW]", "lacks capabilities that drop ALL"),
    (DEPLOYMENT, "readOnlyRootFilesystem: true", "", "lacks readOnlyRootFilesystem"),
    (DEPLOYMENT, "allowPrivilegeEscalation: false", "", "lacks allowPrivilegeEscalation: false"),
    (DEPLOYMENT, "emptyDir: {medium: Memory, sizeLimit: 64Mi}", "hostPath: {path: /}", "volumes"),
    (DEPLOYMENT, "cpu: 100m, ", "", "requests no cpu"),
    (DEPLOYMENT, "limits: {memory: 512Mi, ", "limits: {cpu: 1, ", "has no memory limit"),
    (DEPLOYMENT, "limits: {memory: 512Mi, ", "limits: {cpu: 1, memory: 512Mi, ", "a CPU limit"),
    (DEPLOYMENT, "livenessProbe:", "lifecycle:", "has no livenessProbe"),
    (DEPLOYMENT, "terminationGracePeriodSeconds", "terminationGraceSeconds", "unexpected"),
    ("base/service/disruption-budget.yaml", "maxUnavailable", "maxUnavailble", "unexpected"),
    ("base/service/service-account.yaml", "automount", "# automount", "gives its pods a token"),
    ("base/service/kustomization.yaml", "- disruption-budget.yaml", "", "no PodDisruptionBudget"),
    ("base/service/kustomization.yaml", "- network-policy.yaml", "", "no NetworkPolicy selects"),
    ("base/namespace.yaml", "enforce: restricted", "enforce: baseline", "does not enforce"),
    ("base/kustomization.yaml", "newTag: 0.1.0", "newTag: latest", "but the project is at"),
    (SETTINGS, "migration-0-1-0", "migration-0-0-9", "does not end in version"),
    (SETTINGS, "{name: environment}", "{name: enviroment}", "no ConfigMap enviroment"),
    (SETTINGS, "GALLRA_ONCALL=", "GALLRA_ON_CALL=", "does not read GALLRA_ON_CALL"),
    (SETTINGS, "      - GALLRA_SMTP=smtp.example.com:587\n", "", "needs GALLRA_SMTP"),
    ("../../policies/Kustomization", "      - logs.action.yaml\n", "", "logs.action.yaml is not"),
]


def project(tmp_path: Path) -> Path:
    for folder in ("deploy", "policies"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_manifests_are_sound(capsys: pytest.CaptureFixture[str]):
    assert check.main(ROOT) == 0, capsys.readouterr().out


@pytest.mark.parametrize(("path", "sound", "broken", "expected"), BREAKAGES)
def test_a_broken_manifest_is_found(
    tmp_path: Path, path: str, sound: str, broken: str, expected: str
):
    file = project(tmp_path) / "deploy/k8s" / path
    text = file.read_text()
    assert sound in text
    file.write_text(text.replace(sound, broken))

    objects = check.build(check.kustomize(), tmp_path / "deploy/k8s/base")
    assert any(expected in problem for problem in check.problems(objects, tmp_path))


def test_a_manifest_that_cannot_be_built_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (project(tmp_path) / "deploy/k8s/base/namespace.yaml").unlink()

    assert check.main(tmp_path) == 1
    assert "namespace.yaml" in capsys.readouterr().out


def test_retention_may_reach_the_audit_log():
    objects = check.build(check.kustomize(), ROOT / "deploy/k8s/base")
    policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
    outward = [to for rule in policies["retention"]["egress"] for to in rule.get("to", [])]
    inward = [source for rule in policies["audit-log"]["ingress"] for source in rule["from"]]

    # In matchLabels kustomize would put each service's own name, and nothing would match.
    named = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["audit-log"]}
    ours = {"key": "app.kubernetes.io/part-of", "operator": "In", "values": ["gallra"]}
    assert {"podSelector": {"matchExpressions": [named]}} in outward
    assert {"podSelector": {"matchExpressions": [ours]}} in inward
