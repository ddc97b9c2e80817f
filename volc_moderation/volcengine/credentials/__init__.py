"""Providers of the credentials of a ``VolcengineClient``."""
