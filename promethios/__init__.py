"""Promethios: train, evaluate, deploy and serve a language model that has governance inside.

What is run stands at the root of this package; what is imported stands in a folder named after its stage.
Data flows, and imports go, one way:
telemetry -> ontology -> data -> model -> training -> evaluation -> export -> serving.
"""

__version__ = "0.1.0"
