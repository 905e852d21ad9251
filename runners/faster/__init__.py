"""Parts of ``make_faster.py``: from anyone's checkpoint to a faster model."""
