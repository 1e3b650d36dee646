"""The methods, by family; each is a short builder that gives an `Algorithm`."""
