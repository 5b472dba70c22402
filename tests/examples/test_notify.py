"""examples/notify: a gateway without Python, and a back end that pushes."""

import subprocess
import sys

import jwt

from fastws.config import load
from tests.examples.users import EXAMPLES, User
from tests.support.server import ServerProcess

FOLDER = EXAMPLES / "notify"


def test_a_back_end_reaches_its_users() -> None:
    secret = load({"config": str(FOLDER / "fastws.toml")}, {}).jwt_secret
    assert secret is not None
    token = jwt.encode({"sub": "42"}, secret, "HS256")
    with ServerProcess("--admin-port", "0", directory=FOLDER) as server, User(server, token) as user:
        user.ask("sub", topic="news:shop")
        result = subprocess.run(
            [sys.executable, str(FOLDER / "shop.py"), "42", "on its way"],
            env={"ADMIN_URL": server.admin_url},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == "reached 1 connections; news number 1\n"
        assert user.expect("message")["data"] == {"text": "on its way"}
        assert user.expect("publication")["data"] == {"text": "on its way"}
        assert user.ask("pub", topic="news:shop", data="me too")["code"] == 103
