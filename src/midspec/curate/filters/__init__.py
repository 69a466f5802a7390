"""The shipped filters: each module offers its classes as `FILTERS`, and `midspec.curate` finds them there.

Another package brings one by an entry point, and a config names it in `extra_filters`:

    [project.entry-points."midspec.curate_filters"]
    shouting = "my_package:Shouting"       # a midspec.curate.FilterType
"""
