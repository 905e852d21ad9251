"""Models as graphs for other runtimes: ONNX Runtime and OpenVINO.

======================  =================================================================================
:mod:`.graphs`          a model as T + 1 graphs, and these as ONNX files
:mod:`.onnx_backend`    ONNX Runtime: conversion, quantisation, inference
:mod:`.openvino_backend` OpenVINO: the same
:mod:`.backends`        the backends by name, and the extra that each needs
:mod:`.calibration`     what enters each graph on given texts: ranges of activations come from there
:mod:`.runtime`         one pass through the graphs, with numpy between them
:mod:`.manifest`        the record beside the graphs, which tells a stale export
:mod:`.export`          all of it: from a model to a folder
:mod:`.model`           from a folder to a model that is used like the one it was made from
======================  =================================================================================
"""
