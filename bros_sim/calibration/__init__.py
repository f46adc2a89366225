"""From measurements of a GPU to a latency profile: plan, measure, import, fit, check, derive."""
