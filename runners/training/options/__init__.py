"""Options of the trainings."""
