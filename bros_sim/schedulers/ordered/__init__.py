"""One loop for every policy that is an order, a budget and who gives way."""
