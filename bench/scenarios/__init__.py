"""One module for each scenario: `run` takes what the command line said and returns what the report shows."""
