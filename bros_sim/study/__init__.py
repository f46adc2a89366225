"""Running points and searching among them: workers, store, results, seeds, capacity, tuning."""
