"""What a rollup is: keys, measures, conditions, and the figures that it ends in."""
