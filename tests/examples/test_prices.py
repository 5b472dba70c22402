"""The example prices.py."""

from tests.examples.users import User, example


def test_prices_come_and_can_be_asked_for() -> None:
    with example("prices") as server, User(server) as client:
        assert client.ask("sub", topic="price:all")["topic"] == "price:all"
        heard = [client.expect("publication")["data"] for _ in range(3)]
        assert all(data["symbol"] in {"BTC", "ETH", "SOL"} and data["price"] > 0 for data in heard)
        assert client.ask("rpc", method="prices")["data"].keys() == {"BTC", "ETH", "SOL"}
        assert client.ask("pub", topic="price:all", data=1)["code"] == 103
