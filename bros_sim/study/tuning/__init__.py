"""The best values of some parameters: which to try is Optuna's choice, what is best ours."""
