"""Packed execution of stock transformers encoders."""
