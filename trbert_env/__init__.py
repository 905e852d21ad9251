"""Token reduction in a frozen encoder as a vectorised Gymnasium environment."""
