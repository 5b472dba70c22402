"""Options that are accepted by name but whose part of the server does not exist yet, in one place.

Setting one to anything but its default ends with exit code 2 and a sentence that names it. Whoever builds a part
deletes its entries here, and nothing else has to change.
"""

from fastws.config.declare import Option

_PARTS = {
    "public keys of tokens": ("jwt_public_key", "jwt_jwks"),
    "client certificates": ("ssl_ca_certs", "ssl_require_client_cert"),
}

NOT_BUILT: dict[str, str] = {name: part for part, names in _PARTS.items() for name in names}
"""Attribute name -> the part that is missing."""


def not_built_problem(option: Option, value: object) -> str | None:
    """Return the sentence for an option that cannot be used yet, or None."""
    part = NOT_BUILT.get(option.name)
    if part is None or value == option.default:
        return None
    return f"{option.flag} cannot be set yet: {part} is not built in this version"
