"""The gateway as fan-out needs it, topics without a namespace open to everyone, with the raw echo beside it."""

from bench.apps.echo import echo
from fastws import FastWS

app = FastWS(namespaces={"default": {"subscribe": "all", "publish": "all"}})
app.raw("/echo")(echo)
