"""What exists inside IPython only: the magics, the forms, how records look in a cell, and the live view of a run."""
