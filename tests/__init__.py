"""The tests mirror the source tree; `support` holds what many of them share."""
