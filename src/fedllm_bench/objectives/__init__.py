"""What is learnt: each objective is the whole life of a datum, from example to loss."""
