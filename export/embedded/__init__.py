"""C99 without a heap for microcontrollers and small computers, built and run here."""
