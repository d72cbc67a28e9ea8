"""The web frame that the three services share."""
