"""docker-compose.yml and the images: every command, flag, variable and path in them is real."""

from __future__ import annotations

import re
import runpy
import shlex
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from orchestration.board import RedisBoard
from orchestration.cli import app
from orchestration.settings import Settings, load_settings
from storage.errors import BrokerUnavailable
from workers.engine import engine_options

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = ("worker-gpu", "worker-cpu")
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*[!e]"))
#: Variables that boto3, Hugging Face's library, MinIO and its client read.
FOREIGN = {
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "HF_TOKEN",
    "MC_HOST_store",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ROOT_USER",
}


def example() -> dict[str, str]:
    """docker/env.example as variables."""
    lines = (ROOT / "docker" / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def accepted(arguments: list[str]) -> bool:
    """Whether the real command line knows the command and its flags; nothing is run."""
    return CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions with their continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines())
            if word]  # fmt: skip


@pytest.mark.parametrize("name", WORKERS)
def test_workers_run_a_command_that_there_is(name: str) -> None:
    assert accepted(SERVICES[name]["command"])


def test_a_command_that_there_is_not_is_noticed() -> None:
    assert not accepted(["wroker"])
    assert not accepted(["worker", "--modle", "tiny"])


def test_the_commands_in_comments_and_images_are_real() -> None:
    said = re.sub(r"\\\n#", "", (ROOT / "docker-compose.yml").read_text())
    shown = [
        shlex.split(part) for part in re.findall(r"mediamill ((?:submit|run|worker) .*)", said)
    ]
    assert shown
    for arguments in shown:
        assert accepted(arguments)
    for dockerfile in DOCKERFILES:
        found = dict(instructions(dockerfile))
        assert yaml.safe_load(found["ENTRYPOINT"]) == ["mediamill"]
        assert accepted(yaml.safe_load(found["CMD"]))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_variables_are_known_and_hold_what_the_settings_take(name: str) -> None:
    ours = {}
    for variable, value in SERVICES[name].get("environment", {}).items():
        if not variable.startswith("MEDIAMILL_"):
            assert variable in FOREIGN
            continue
        setting = variable.removeprefix("MEDIAMILL_").lower()
        assert setting in Settings.model_fields
        if value is not None:
            ours[setting] = re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
    load_settings(**ours)


def test_variables_from_outside_are_in_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    asked |= {key for s in SERVICES.values() for key, v in s.get("environment", {}).items()
              if v is None}  # fmt: skip
    assert asked == set(example())
    for name, value in example().items():
        if name.startswith("MEDIAMILL_"):
            monkeypatch.setenv(name, value)
    engine_options(load_settings().engine_options)


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|TOKEN|KEY", variable):
                assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)
    assert {n for n, value in example().items() if value} <= {
        "MEDIAMILL_MODEL",
        "MEDIAMILL_ENGINE_OPTIONS",
    }
    for dockerfile in DOCKERFILES:
        assert not re.search("SECRET|PASSWORD|TOKEN|_KEY", dockerfile.read_text())
        ignored = (dockerfile.parent / f"{dockerfile.name}.dockerignore").read_text().split()
        assert {".env", ".git"} <= set(ignored)


def test_redis_keeps_its_messages() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_every_name_that_is_referred_to_is_there() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        # The places that are written into variables are services.
        for host in re.findall(r"(?:redis|http)://(?:[^@/]*@)?([\w-]+):", str(service)):
            assert host in SERVICES
    for name in WORKERS:
        service = SERVICES[name]
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        script = Path(service["healthcheck"]["test"][-1]).relative_to("/app")
        assert (ROOT / script).is_file()


def test_the_gpu_worker_gets_a_gpu_and_keeps_its_models() -> None:
    worker = SERVICES["worker-gpu"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert worker["volumes"] == ["models:/models"]
    assert dict(instructions(ROOT / "docker" / "Dockerfile.gpu"))["ENV"] == "HF_HOME=/models"
    assert SERVICES["worker-cpu"]["environment"]["MEDIAMILL_MODEL"] == "tiny"


def test_a_worker_has_longer_to_leave_than_it_needs() -> None:
    for name in WORKERS:
        given = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert given > load_settings().tempo.exit_s


@pytest.mark.parametrize("name", [*WORKERS, "metrics"])
def test_services_of_ours_may_do_what_they_need(name: str) -> None:
    service = SERVICES[name]
    for dockerfile in DOCKERFILES:
        assert "useradd --create-home --uid 10001 mill" in dockerfile.read_text()
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc"} & set(service)
    folders = dict(entry.split(":") for entry in service["tmpfs"])
    # Docker mounts them so that nothing in them can be run, unless it is told to let it.
    assert {"uid=10001", "exec"} <= set(folders.pop("/home/mill").split(","))
    assert folders == {"/tmp": "mode=1777"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_gains_privileges_or_is_seen_from_elsewhere(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert not {"cap_add", "privileged"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


def test_who_runs_as_root_is_written_down() -> None:
    """Users of images that are not ours: Redis has one that owns its /data, MinIO has none."""
    assert SERVICES["redis"]["user"] == "999:1000"
    said = " ".join((ROOT / "docs" / "security.md").read_text().split())
    assert {name for name, service in SERVICES.items() if "user" not in service} == {"s3", "bucket"}
    assert "the S3 server and its client in `docker-compose.yml` as their image's root" in said


def test_pods_may_do_what_containers_may() -> None:
    documents = yaml.safe_load_all((ROOT / "docker" / "keda.yaml").read_text())
    pods = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["tmp"] == "/tmp"
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_nobody_and_install_what_there_is(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    users = [rest for word, rest in steps if word == "USER"]
    assert users == ["mill"]
    # Nothing is installed after the change of user.
    after = steps[steps.index(("USER", "mill")) :]
    assert {word for word, _ in after} <= {"USER", "ENV", "ENTRYPOINT", "CMD"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = dockerfile.read_text()
    for extra in re.findall(r"'\.\[(\w+)\]'", text):
        assert extra in project["optional-dependencies"]
    for path in re.findall(r"(?:requirements/[\w./-]+|\./\w+)", text):
        assert (ROOT / path).exists(), path
    assert (ROOT / project["readme"]).name == "README.md"


def test_the_health_check_asks_for_a_worker_of_its_own_host(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "docker" / "healthy.py"))["main"]

    def say(*names: str) -> int:
        monkeypatch.setattr(RedisBoard, "workers", lambda self: [{"worker": n} for n in names])
        return int(main())

    assert say("elsewhere-7", f"{socket.gethostname()}-12") == 0
    assert say() == 1
    assert say("elsewhere-7") == 1
    assert "elsewhere-7" in capsys.readouterr().err

    def away(self: RedisBoard) -> list[dict[str, Any]]:
        raise BrokerUnavailable("Redis does not answer")

    monkeypatch.setattr(RedisBoard, "workers", away)
    assert main() == 1
