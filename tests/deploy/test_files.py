"""The files of deploy/ that need a machine, a cluster or an engine to be used: that they hold together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastws.config import OPTIONS, Settings, load
from fastws.server.lifespan import CANCELLED_S
from fastws.server.serving import END_S
from tests.support.redis import RedisServer, redis_binary
from tests.support.server import ROOT

DEPLOY = ROOT / "deploy"
DEFAULTS = Settings()


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_every_file_is_listed() -> None:
    listed = set(re.findall(r"\]\(([\w./]+)\)", read("README.md")))
    files = {path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("*") if path.is_file()}
    assert files - listed == {"README.md", "docker/Dockerfile.dockerignore"}


def test_no_file_names_a_registry() -> None:
    """Images are those that whoever runs it has chosen, by their plain names."""
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            for name in re.findall(r"^\s*(?:FROM|image:)\s+(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
                assert "/" not in name, f"{path}: {name}"


# The configuration.


def check(text: str, folder: Path) -> None:
    """`fastws check` takes it, with the secrets that come from the environment."""
    file = folder / "fastws.toml"
    file.write_text(text, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTWS_")}
    secrets = {"FASTWS_JWT_SECRET": "x" * 32, "FASTWS_ADMIN_KEY": "y" * 32}
    command = [sys.executable, "-m", "fastws.server.toolbox", "check", str(file)]
    done = subprocess.run(
        command, env=clean | secrets | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    check(read("fastws.toml"), tmp_path)


def test_redis_takes_its_configuration() -> None:
    redis_binary()
    settings = dict(line.split(maxsplit=1) for line in read("redis/redis.conf").splitlines() if line[:1].isalpha())
    del settings["bind"]
    options = [word for name, value in settings.items() for word in (f"--{name}", *value.split())]
    with RedisServer(*options) as redis:
        said = redis.ask("CONFIG", "GET", "client-output-buffer-limit")
        assert isinstance(said, list)
        assert b"pubsub 268435456 134217728 60" in said[1]
        assert redis.ask("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]


# systemd.


def unit() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", read("systemd/fastws.service"), re.MULTILINE))


def test_the_unit_waits_for_the_drain() -> None:
    settings = unit()
    assert settings["Type"] == "notify"
    assert settings["KillMode"] == "mixed"
    assert seconds(settings["TimeoutStopSec"]) > DEFAULTS.drain_timeout + END_S + CANCELLED_S
    assert "HUP" in settings["ExecReload"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze (Debian package systemd)")
    file = tmp_path / "fastws.service"
    file.write_text(read("systemd/fastws.service").replace("/opt/fastws/bin/fastws-server", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "fastws.service" in line]
    assert done.returncode == 0, done.stderr
    assert not ours


# Containers.


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(read(name)))


def test_compose_serves_two_nodes_and_waits_for_their_drain() -> None:
    (compose,) = documents("docker/compose.yaml")
    services = compose["services"]
    for name in ("web1", "web2"):
        node = services[name]
        assert seconds(node["stop_grace_period"]) > DEFAULTS.drain_timeout
        assert {variable.removeprefix("FASTWS_").lower() for variable in node["environment"]} <= OPTIONS.keys()
        assert node["environment"]["FASTWS_NODE_NAME"] == name
        assert f" server {name} {name}:8000" in read("haproxy/haproxy.cfg")
        assert (DEPLOY / "docker" / node["build"]["context"] / node["build"]["dockerfile"]).samefile(
            DEPLOY / "docker" / "Dockerfile"
        )
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / "docker" / source).exists(), source


def test_the_image_is_built_from_what_is_here() -> None:
    lines = read("docker/Dockerfile").splitlines()
    instructions = [line.split()[0] for line in lines if re.match(r"[A-Z]+ ", line)]
    assert instructions[0] == "FROM"
    assert instructions.count("FROM") == 2
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    variables = re.findall(r"FASTWS_(\w+)=", next(line for line in lines if line.startswith("ENV ")))
    assert {name.lower() for name in variables} <= OPTIONS.keys()


def test_kubernetes_objects_fit_together(tmp_path: Path) -> None:
    objects = {document["kind"]: document for document in documents("kubernetes/fastws.yaml")}
    assert objects.keys() == {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}
    deployment = objects["Deployment"]["spec"]
    pod = deployment["template"]
    labels = pod["metadata"]["labels"].items()
    for selector in (
        deployment["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    (container,) = pod["spec"]["containers"]
    assert {entry["name"].removeprefix("FASTWS_").lower() for entry in container["env"]} <= OPTIONS.keys()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] in ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}

    text = objects["ConfigMap"]["data"]["fastws.toml"]
    check(text, tmp_path)
    settings = load({"config": str(tmp_path / "fastws.toml")})
    assert (settings.port, settings.admin_port) == (ports["websocket"], ports["admin"])
    paused_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > paused_s + settings.drain_timeout + END_S + CANCELLED_S
