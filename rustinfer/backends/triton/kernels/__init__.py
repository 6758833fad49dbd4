"""Triton device code, one module per op family. Importing any of them imports triton: only `build` functions do."""
