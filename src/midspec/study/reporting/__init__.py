"""From the records and rows of a finished run to the data of its report."""
