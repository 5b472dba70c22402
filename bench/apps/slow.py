"""The gateway with a namespace for each way to treat a subscriber that reads too slowly, open to everyone."""

from fastws import FastWS

POLICIES = ("disconnect", "drop_oldest", "conflate")

app = FastWS(namespaces={policy: {"subscribe": "all", "publish": "all", "slow_policy": policy} for policy in POLICIES})
