"""The evaluation `preference`: which of two options a model chooses, by log-probability and by its own words.

Enter: items (pairs), a `PreferenceConfig`, a model. Leave: score rows and answers, read from an Inspect log. Pairs are
shipped for eight values, read from files and data sets, or written by a model for any value.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
