"""docker/keda.yaml and docs/autoscaling.md: what they name is there, and their figures hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from jobs.cost import seconds_per_token
from jobs.tempo import Tempo
from orchestration.cli import app
from orchestration.cli_metrics import PORT
from orchestration.settings import Settings
from tests.unit.test_metrics import WORKER, Scene

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "docker" / "keda.yaml").read_text())
)
PAGE = (ROOT / "docs" / "autoscaling.md").read_text()
MINUTES = 10

_COUNT = {"type": "integer", "minimum": 0}
_METADATA = ("serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues")
#: What KEDA 2.20 takes of what is used here, by its CRD and its scaler's source. Nothing else
#: is let through: the API server drops a field that it does not know.
SCALED_OBJECT = {
    "type": "object",
    "required": ["scaleTargetRef", "triggers"],
    "additionalProperties": False,
    "properties": {
        "scaleTargetRef": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string", "minLength": 1}},
        },
        "minReplicaCount": _COUNT,
        "maxReplicaCount": {"type": "integer", "minimum": 1},
        "pollingInterval": {"type": "integer", "minimum": 1},
        "cooldownPeriod": _COUNT,
        "advanced": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "horizontalPodAutoscalerConfig": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "behavior": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "scaleDown": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {
                                        "stabilizationWindowSeconds": {**_COUNT, "maximum": 3600}
                                    },
                                }
                            },
                        }
                    },
                }
            },
        },
        "triggers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "metadata"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "prometheus"},
                    "metricType": {"enum": ["AverageValue", "Value"]},
                    "metadata": {
                        "type": "object",
                        "required": ["serverAddress", "query", "threshold"],
                        "additionalProperties": False,
                        # Numbers and booleans too are text there.
                        "properties": {key: {"type": "string"} for key in _METADATA},
                    },
                },
            },
        },
    },
}


def of(kind: str, name: str) -> Any:
    """The one document of this kind and name."""
    (found,) = (d for d in DOCUMENTS if (d["kind"], d["metadata"]["name"]) == (kind, name))
    return found


def container(name: str) -> Any:
    """The one container of a deployment."""
    (found,) = of("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return found


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, set[str]]:
    """Every metric of the page and its labels."""
    scene = Scene(tmp_path / "out")
    scene.commit(0)
    scene.board.alive = [WORKER]
    return {name: set(samples[0][0]) for name, samples in scene.samples().items()}


def scaled() -> Any:
    return of("ScaledObject", "mediamill-worker")["spec"]


def test_the_scaled_object_is_one() -> None:
    document = of("ScaledObject", "mediamill-worker")
    assert document["apiVersion"] == "keda.sh/v1alpha1"
    jsonschema.validate(document["spec"], SCALED_OBJECT)
    assert scaled()["minReplicaCount"] == 0 < scaled()["maxReplicaCount"]
    assert "replicas" not in of("Deployment", scaled()["scaleTargetRef"]["name"])["spec"]


def test_metrics_and_labels_of_every_query_are_on_the_page(shown: dict[str, set[str]]) -> None:
    queries = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    assert len(queries) == 2
    queries += [trigger["metadata"]["query"] for trigger in scaled()["triggers"]]
    for query in queries:
        for name, labels in re.findall(r"(mediamill_\w+)(?:\{([^}]*)\})?", query):
            assert set(re.findall(r"(\w+)=", labels)) <= shown[name]


def test_the_page_of_the_documentation_has_every_metric(shown: dict[str, set[str]]) -> None:
    listed = re.findall(r"^\| (`mediamill_.*?) \|", PAGE, re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"\w+", cell)} == set(shown)


def test_the_model_that_is_counted_is_the_one_that_is_served() -> None:
    args = container("mediamill-worker")["args"]
    model = args[args.index("--model") + 1]
    (trigger,) = scaled()["triggers"]
    asked = set(re.findall(r'model="([^"]*)"', trigger["metadata"]["query"]))
    assert asked == {model}


def test_figures_hold() -> None:
    (trigger,) = scaled()["triggers"]
    # Of E2B, whose speed it is.
    done = MINUTES * 60 / seconds_per_token(None)
    assert float(trigger["metadata"]["threshold"]) == pytest.approx(done, rel=0.05)
    behavior = scaled()["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == MINUTES * 60
    # An error is no 0, and there is nothing to fall back to.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    pod = of("Deployment", "mediamill-worker")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > Tempo().exit_s
    assert f"terminationGracePeriodSeconds: {pod['terminationGracePeriodSeconds']}" in PAGE
    (endpoint,) = of("ServiceMonitor", "mediamill-metrics")["spec"]["endpoints"]
    assert endpoint["interval"] == f"{Tempo().feed_s / 2:g}s"


def test_everything_that_is_referred_to_is_there() -> None:
    for deployment in (d for d in DOCUMENTS if d["kind"] == "Deployment"):
        template = deployment["spec"]["template"]
        assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        for one in template["spec"]["containers"]:
            assert {mount["name"] for mount in one.get("volumeMounts", [])} == volumes
            assert CliRunner().invoke(app, [*one["args"], "--help"]).exit_code == 0
            for variable in one.get("env", []):
                setting = variable["name"].removeprefix("MEDIAMILL_").lower()
                assert setting in Settings.model_fields
                assert isinstance(variable["value"], str)
    (probe,) = (c["readinessProbe"] for c in [container("mediamill-worker")])
    script = Path(probe["exec"]["command"][-1]).relative_to("/app")
    assert (ROOT / script).is_file()
    (port,) = container("mediamill-metrics")["ports"]
    assert port["containerPort"] == PORT
    service = of("Service", "mediamill-metrics")
    labels = of("Deployment", "mediamill-metrics")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    (served,) = service["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (PORT, port["name"])
    monitor = of("ServiceMonitor", "mediamill-metrics")["spec"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] == served["name"]


def test_compose_serves_the_page_to_this_machine_alone() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["metrics"]
    assert CliRunner().invoke(app, [*service["command"], "--help"]).exit_code == 0
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert service["profiles"] == ["metrics"]
