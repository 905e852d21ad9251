"""The compared systems: what others did to make a fine-tuned encoder faster, each a System that is measured alike."""
