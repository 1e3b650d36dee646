"""Programs that nobody has read run where they can do no harm; what they return is checked outside."""
