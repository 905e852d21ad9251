"""The paper's tables and figures: what is trained for them, and how they are told."""
