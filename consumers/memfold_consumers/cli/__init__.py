"""The command line: ``memfold``. Data goes to stdout, everything else to stderr.

On a terminal there are tables and colour; in a pipe, plain lines with tabs. Control characters in
texts of others are shown escaped. ``--json`` asks for JSON: one value on one line, or one a line.

``memfold --help`` and ``memfold COMMAND --help`` say what there is, ``memfold --version`` which
version it is.

Reading commands answer as of all that the log held when they were asked.

A name that begins with a dash goes behind ``--`` (``memfold show --json -- -x``), a thread's behind
``=`` (``--thread=-x``).
"""
