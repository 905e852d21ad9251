"""What the training runners share: the loop, and the runs of stages 2 and 3."""
