"""Bystanders of a load: what one client's work makes others wait."""
