from ._gather import Pool as Pool
