"""What the paper asserts, as runs and checks with bars."""
CLAIMS = ()
