"""What can be checked of the paper at our size: the adapter adds nothing, and is uniform."""

CLAIMS = ()
