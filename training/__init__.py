"""The recipe of the embedded backbone; see README.md in this folder. The package never needs it."""
