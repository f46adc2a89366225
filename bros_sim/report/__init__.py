"""One self-contained HTML page about results, and the tables and sentences of the terminal."""
