"""The command line: ``memfold``. Data goes to stdout, everything else to stderr."""
