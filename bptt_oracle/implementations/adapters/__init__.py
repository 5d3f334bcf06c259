"""Implementations in other frameworks, each usable where its framework is installed.

    bptt-oracle check --implementation bptt_oracle.implementations.adapters.onnx_node:onnxruntime

Each file has module-level objects `Implementation`, and beside it the deviations that are expected
of them. Conventions of weights: docs/porting.md.

Page: docs/implementations/frameworks.md
"""
