"""`python -m bros_sim`: the command where no `bros-sim` is on the path."""

from bros_sim.cli import main

if __name__ == "__main__":
    main()
