"""Plain texts that an encoder is pre-trained on: documents, their tokens on the disk, and sequences cut from them."""
