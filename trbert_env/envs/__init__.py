"""The vectorised environment, its episodes, spaces and registration."""
