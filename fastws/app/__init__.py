"""What users of fastws write: registrations with decorators that a server reads later, and the services of it."""

from fastws.app.application import FastWS
from fastws.app.handlers import MESSAGE, STREAM
from fastws.app.routes import RESERVED_PATHS, HttpRoute, RawRoute
from fastws.app.services import Tenant

__all__ = ["MESSAGE", "RESERVED_PATHS", "STREAM", "FastWS", "HttpRoute", "RawRoute", "Tenant"]
