"""The two stages that train a policy: their options, and what one run of them does from update to update."""
