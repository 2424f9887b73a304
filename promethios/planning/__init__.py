"""What a training will need, computed before anything is paid for; needs no torch."""
