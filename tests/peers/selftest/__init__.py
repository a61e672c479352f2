"""The peers tried on each other, with a small queue written from the same texts between them."""
