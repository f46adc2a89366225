"""The version of the package: here, so that every room can name it."""

VERSION = "0.1.0"
