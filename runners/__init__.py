"""One readable file a job, each a script: ``python runners/<job>.py --help``."""
