"""Where events and figures are sent while a trace runs."""
