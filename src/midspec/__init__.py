"""midspec: from a Model Spec to a trained model, and to a report that says how its alignment generalized."""

__version__ = "0.1.0"
