"""Configuration: every setting is declared once (`settings.py`) and read from option, environment, file or default."""

from fastws.config.addresses import as_url, is_loopback
from fastws.config.declare import Group, Option
from fastws.config.load import load
from fastws.config.namespaces import NAMESPACE_KEYS, check_namespaces, contradictions
from fastws.config.settings import GROUPS, OPTIONS, Settings, masked

__all__ = [
    "GROUPS",
    "NAMESPACE_KEYS",
    "OPTIONS",
    "Group",
    "Option",
    "Settings",
    "as_url",
    "check_namespaces",
    "contradictions",
    "is_loopback",
    "load",
    "masked",
]
