"""The shipped rewards: each module offers its classes as `REWARDS`, and `midspec.train` finds them there.

Another package brings one by an entry point, and a recipe names it under `grpo.rewards`:

    [project.entry-points."midspec.rewards"]
    politeness = "my_package:Politeness"       # a midspec.train.RewardType
"""
