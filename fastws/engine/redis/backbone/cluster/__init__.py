"""Connections to all masters of a Redis Cluster."""

from fastws.engine.redis.backbone.cluster.cluster import Cluster

__all__ = ["Cluster"]
