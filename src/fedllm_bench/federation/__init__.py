"""The federated round: who trains, what they send, how it is merged."""
