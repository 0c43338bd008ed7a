"""What the paper asserts, as runs with bars."""

CLAIMS = ()
