"""Spans of rustinfer's requests for OpenTelemetry."""

from __future__ import annotations

from .traced import Traced, provider

__all__ = ["Traced", "provider"]
