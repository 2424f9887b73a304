"""Trainings in a Kubernetes cluster: what is rendered, checked, created, followed, stopped and resumed."""
